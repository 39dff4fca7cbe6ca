from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.errors import ApiError
from services.analytics.period import Interval, Period, iso, micros, read_interval, read_period, read_time, read_zone

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def period(start: str, end: str) -> Period:
    return Period(datetime.fromisoformat(start), datetime.fromisoformat(end))


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T12:00:00Z",
        "2026-11-22T12:00:00",
        "2026-11-22T13:00:00+01:00",
        "2026-11-22T13:00:00 01:00",
        "1795348800000",
        "1795348800000.0",
        " 2026-11-22T12:00 ",
    ],
)
def test_a_time_is_read_in_every_form_that_clients_send(text: str) -> None:
    assert read_time("from", text) == NOW


@pytest.mark.parametrize("text", ["yesterday", "", "22.11.2026", "-1", "99999999999999", "2026-13-01", "1e5", "nan"])
def test_what_is_no_time_is_refused_by_its_parameters_name(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_time("from", text)
    assert (refused.value.status, refused.value.message.startswith("from:")) == (400, True)


def test_the_default_is_the_last_seven_days() -> None:
    found = read_period(None, None, NOW)
    assert (found.end, found.span) == (NOW, timedelta(days=7))
    assert read_period(None, "2026-01-08T00:00Z", NOW).start == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_empty_period_is_refused() -> None:
    with pytest.raises(ApiError):
        read_period("2026-01-01", "2026-01-01", NOW)


def test_the_day_on_which_clocks_change_has_25_hours_and_one_bucket() -> None:
    october = period("2026-10-24T22:00:00+00:00", "2026-10-26T23:00:00+00:00")
    starts = october.buckets(Interval.DAY, BERLIN)
    assert [iso(start) for start in starts] == ["2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"]
    assert len(period("2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00").buckets(Interval.HOUR, BERLIN)) == 25


def test_weeks_begin_on_monday() -> None:
    starts = period("2026-11-18T00:00:00+00:00", "2026-11-24T00:00:00+00:00").buckets(Interval.WEEK, ZoneInfo("UTC"))
    assert [iso(start) for start in starts] == ["2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"]


def test_hours_begin_where_the_zone_has_them() -> None:
    starts = period("2026-11-18T00:10:00+00:00", "2026-11-18T01:00:00+00:00").buckets(
        Interval.HOUR, ZoneInfo("Asia/Kolkata")
    )
    assert [iso(start) for start in starts] == ["2026-11-17T23:30:00Z", "2026-11-18T00:30:00Z"]


def test_too_many_buckets_are_refused_with_what_to_change() -> None:
    with pytest.raises(ApiError) as refused:
        period("2025-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00").buckets(Interval.MINUTE, BERLIN)
    assert refused.value.status == 422
    assert "wider interval" in refused.value.message


moments = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))  # noqa: DTZ001
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]).map(
    ZoneInfo
)


@given(
    start=moments,
    days=st.floats(0.01, 40),
    zone=zones,
    interval=st.sampled_from([Interval.HOUR, Interval.DAY, Interval.WEEK]),
)
def test_buckets_cover_the_period_without_gap_or_overlap(
    start: datetime, days: float, zone: ZoneInfo, interval: Interval
) -> None:
    found = Period(start, start + timedelta(days=days))
    starts = found.buckets(interval, zone)
    assert starts[0] <= found.start < (starts[1] if len(starts) > 1 else found.end)
    assert starts[-1] < found.end
    assert starts == sorted(set(starts))
    gaps = {later - earlier for earlier, later in pairwise(starts)}
    assert all(abs(gap - interval.length) <= timedelta(hours=1) for gap in gaps)


@given(start=moments, days=st.floats(0.01, 90), zone=zones)
def test_the_previous_period_ends_where_this_one_begins(start: datetime, days: float, zone: ZoneInfo) -> None:
    found = Period(start, start + timedelta(days=days))
    before = found.previous(zone)
    assert before.end == found.start
    assert abs(before.span - found.span) <= timedelta(hours=2)


def test_the_day_before_a_clock_change_is_a_whole_day_too() -> None:
    monday = period("2026-10-25T23:00:00+00:00", "2026-10-26T23:00:00+00:00")
    assert monday.previous(BERLIN) == period("2026-10-24T22:00:00+00:00", "2026-10-25T23:00:00+00:00")


@pytest.mark.parametrize(("days", "wanted"), [(0.05, "minute"), (1, "hour"), (30, "day"), (400, "week")])
def test_the_interval_follows_the_length_of_the_period(days: float, wanted: str) -> None:
    assert read_interval(None, Period(NOW - timedelta(days=days), NOW)) == wanted
    with pytest.raises(ApiError):
        read_interval("decade", Period(NOW - timedelta(days=days), NOW))


@pytest.mark.parametrize("text", ["../../etc/passwd", "Europe", "europe/berlin ", "UTC+1"])
def test_what_is_no_time_zone_is_refused(text: str) -> None:
    with pytest.raises(ApiError):
        read_zone(text)


@given(st.integers(0, 10**16))
def test_a_time_is_told_exactly(moment: int) -> None:
    assert micros(datetime.fromisoformat(iso(moment))) == moment
