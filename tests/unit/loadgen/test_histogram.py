from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.loadgen.histogram import Histogram

durations = st.lists(st.integers(0, 3_600_000_000), min_size=1, max_size=200)


@given(durations, st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_quantile_is_at_most_four_percent_above_the_true_one(values: list[int], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    true = next(value for at, value in enumerate(sorted(values), 1) if at >= share * len(values))
    assert true <= histogram.quantile(share) <= true * 1.04


@given(durations, durations)
def test_histograms_of_two_processes_add_up(one: list[int], other: list[int]) -> None:
    parts, whole = [Histogram(), Histogram()], Histogram()
    for part, values in zip(parts, (one, other), strict=True):
        for value in values:
            part.record(value)
            whole.record(value)
    parts[0].add(parts[1])
    assert parts[0].counts == whole.counts
    assert parts[0].greatest == whole.greatest


def test_an_empty_histogram_has_quantiles_of_zero() -> None:
    assert Histogram().quantile(0.99) == 0


@pytest.mark.parametrize("odd", [-5, 10**12])
def test_durations_that_a_clock_change_made_are_kept_in_bounds(odd: int) -> None:
    histogram = Histogram()
    histogram.record(odd)
    assert histogram.total == 1
    assert 0 <= histogram.quantile(1.0) <= 3_600_000_000
