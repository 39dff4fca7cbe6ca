"""Client times in the forms that JavaScript's Date reads; what it makes of them was asked of Node, in UTC."""

from __future__ import annotations

import pytest

from shared.errors import InvalidEventError
from shared.times import LATEST, from_text


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("2026-11-22T03:01:55.355796+00:00", b"1795316515355.796"),
        ("2026-11-22T03:01:55.3557961Z", b"1795316515355.7961"),
        ("2026-11-22T03:01:55Z", b"1795316515000"),
        ("2026-11-22T03:01:55", b"1795316515000"),
        ("2026-11-22 03:01:55.123+02:00", b"1795309315123"),
        ("2026-11-22", b"1795305600000"),
        ("2026-11", b"1793491200000"),
        ("2026", b"1767225600000"),
        ("Sun Nov 22 2026 03:01:55 GMT+0000 (Coordinated Universal Time)", b"1795316515000"),
        ("Sun Nov 22 2026 04:01:55 GMT+0100 (Central European Standard Time)", b"1795316515000"),
        ("Sun, 22 Nov 2026 03:01:55 GMT", b"1795316515000"),
        ("Nov 22 2026 03:01:55 EST", b"1795334515000"),
        ("11/22/2026", b"1795305600000"),
        ("+002026-11-22T00:00:00Z", b"1795305600000"),
        ("+275760-09-13T00:00:00.000Z", b"8640000000000000"),
    ],
)
def test_dates_are_read_as_javascript_reads_them(text: str, exact: bytes) -> None:
    time = from_text(text)
    assert time is not None
    assert time.exact == exact
    assert time.saturated == (int(float(exact)) * 1000 > LATEST)


@pytest.mark.parametrize(
    "text",
    ["yesterday", "", "1795316670092", "10:00", "Monday", "22", "Nov 22 2026 03:01:55 XYZ", "-000000-01-01", "x" * 500],
)
def test_a_text_that_names_no_whole_date_is_no_time(text: str) -> None:
    assert from_text(text) is None


@pytest.mark.parametrize("text", ["1969-12-31T23:59:59.999Z", "-000001-01-01T00:00:00Z"])
def test_times_before_1970_are_refused(text: str) -> None:
    with pytest.raises(InvalidEventError):
        from_text(text)
