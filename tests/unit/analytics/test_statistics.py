from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.statistics import satisfaction


@pytest.mark.parametrize(
    ("up", "down", "low", "high"),
    # As published: Wilson 95 % of 8/10, 0/10, 10/10, 1/1, 500/1000.
    [
        (8, 2, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 0, 0.7225, 1.0),
        (1, 0, 0.2065, 1.0),
        (500, 500, 0.4691, 0.5309),
    ],
)
def test_the_interval_is_wilsons(up: int, down: int, low: float, high: float) -> None:
    found = satisfaction(up, down)
    assert (round(found.low or 0, 4), round(found.high or 0, 4)) == (low, high)


def test_nobody_voted_is_not_zero() -> None:
    assert satisfaction(0, 0) == (None, None, None)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_share_lies_in_its_interval(up: int, down: int) -> None:
    found = satisfaction(up, down)
    if up + down:
        assert found.share is not None
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.share <= found.high <= 1
