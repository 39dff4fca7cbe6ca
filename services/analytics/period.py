"""Periods of time: what ``from``, ``to``, ``interval`` and ``tz`` mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from .errors import ApiError, bad_parameter

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2299, 12, 31, tzinfo=UTC)
_MILLIS = re.compile(r"-?\d{1,15}(?:\.\d+)?")
_DEFAULT_SPAN = timedelta(days=7)

MOST_BUCKETS = 2_000


class Interval(StrEnum):
    """Width of a bucket. Days and weeks begin at midnight of the time zone, weeks on Monday."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    @property
    def length(self) -> timedelta:
        return _LENGTHS[self]


_LENGTHS = {
    Interval.MINUTE: timedelta(minutes=1),
    Interval.HOUR: timedelta(hours=1),
    Interval.DAY: timedelta(days=1),
    Interval.WEEK: timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class Period:
    """From ``start`` (included) to ``end`` (not included), both aware, UTC."""

    start: datetime
    end: datetime

    @property
    def span(self) -> timedelta:
        return self.end - self.start

    @property
    def parameters(self) -> dict[str, int]:
        """For the queries: microseconds since 1970."""
        return {"start": micros(self.start), "end": micros(self.end)}

    def previous(self, zone: ZoneInfo) -> Period:
        """As long, and right before. Whole days stay whole days where a clock change lies between."""
        start, end = self.start.astimezone(zone), self.end.astimezone(zone)
        wall_span = end.replace(tzinfo=None) - start.replace(tzinfo=None)
        return Period((start - wall_span).astimezone(UTC), self.start)

    def natural_interval(self) -> Interval:
        """The one that gives some 30 to 170 buckets."""
        if self.span <= timedelta(hours=2):
            return Interval.MINUTE
        if self.span <= timedelta(days=4):
            return Interval.HOUR
        if self.span <= timedelta(days=185):
            return Interval.DAY
        return Interval.WEEK

    def buckets(self, interval: Interval, zone: ZoneInfo) -> list[datetime]:
        """The starts of all buckets that the period touches, UTC.

        Raises ApiError where there would be too many.
        """
        if self.span / interval.length > MOST_BUCKETS:
            raise ApiError(
                422,
                "too_much",
                f"interval: over {MOST_BUCKETS:,} buckets of a {interval}; take a wider interval or a shorter period",
            )
        return _buckets(self, interval, zone)


def _buckets(period: Period, interval: Interval, zone: ZoneInfo) -> list[datetime]:
    if interval in (Interval.MINUTE, Interval.HOUR):
        return _even_buckets(period, interval, zone)
    local = period.start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if interval is Interval.WEEK:
        local -= timedelta(days=local.weekday())
    starts = []
    while (start := local.astimezone(UTC)) < period.end:
        starts.append(start)
        local += interval.length
    return starts


def _even_buckets(period: Period, interval: Interval, zone: ZoneInfo) -> list[datetime]:
    """Hours and minutes pass evenly whatever a wall clock shows; they begin where its hours do."""
    offset = period.start.astimezone(zone).utcoffset() or timedelta()
    start = EPOCH + (period.start - EPOCH + offset) // interval.length * interval.length - offset
    starts = []
    while start < period.end:
        starts.append(start)
        start += interval.length
    return starts


def read_period(since: str | None, until: str | None, now: datetime) -> Period:
    """Defaults: the last 7 days. Raises ApiError."""
    end = read_time("to", until) if until else now
    start = read_time("from", since) if since else end - _DEFAULT_SPAN
    if start >= end:
        raise bad_parameter("from", "must be earlier than to")
    return Period(start, end)


def read_time(name: str, text: str) -> datetime:
    """ISO 8601 (UTC where it names no offset) or milliseconds since 1970. Raises ApiError."""
    text = text.strip()
    try:
        if _MILLIS.fullmatch(text):
            moment = EPOCH + timedelta(milliseconds=float(text))
        else:
            # An unescaped + of an offset arrives as a blank.
            moment = datetime.fromisoformat(text.replace(" ", "+") if text.count(" ") == 1 and "T" in text else text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise bad_parameter(name, "give ISO 8601, such as 2026-11-22T08:00:00Z, or milliseconds since 1970") from None
    if not EPOCH <= moment <= LATEST:
        raise bad_parameter(name, "give a time between 1970 and 2299")
    return moment


def read_interval(text: str | None, period: Period) -> Interval:
    """By the length of the period where none is given. Raises ApiError."""
    if not text:
        return period.natural_interval()
    try:
        return Interval(text)
    except ValueError:
        raise bad_parameter("interval", f"one of {', '.join(Interval)}") from None


def read_zone(text: str | None) -> ZoneInfo:
    """UTC where none is given. Raises ApiError."""
    if not text:
        return ZoneInfo("UTC")
    if text not in _zones():
        raise bad_parameter("tz", "give a name such as Europe/Berlin, from the IANA time zone database")
    return ZoneInfo(text)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def micros(moment: datetime) -> int:
    """Since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def iso(micros_or_moment: int | datetime) -> str:
    """RFC 3339, UTC, as exact as it is known: no fraction, or milli- or microseconds."""
    moment = micros_or_moment
    if isinstance(moment, int):
        moment = EPOCH + timedelta(microseconds=moment)
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return text.removesuffix("000").removesuffix(".000") + "Z"
