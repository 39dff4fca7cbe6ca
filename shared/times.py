"""Client times: what the vendors accept, kept exact, and fitted into ClickHouse's DateTime64(6).

All instants are integers: microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from dateutil import parser as dateutil_parser

from shared.errors import InvalidEventError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

LATEST = (datetime(2299, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - EPOCH) // _MICROSECOND
"""The last instant of a DateTime64(6). Later ones are saturated to it (ClickHouse would wrap around)."""

_LATEST_MILLIS = LATEST // 1000
_EXACT_DOUBLES = 2**53
"""Below it whole numbers and doubles are the same."""

PLAUSIBLE_FROM = (datetime(2015, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
"""No LLM had feedback before: an earlier time is seconds sent as milliseconds, or a dead clock."""

CLOCK_TOLERANCE = 300 * 1_000_000
"""A client clock may run this far ahead (5 min, as Kerberos allows) before its times are marked so."""

_LONGEST_TIME_TEXT = 100
_SUB_MICROSECOND_DIGITS = re.compile(r"[.,]\d{6}(\d*[1-9])0*(?!\d)")


_IN_PARENTHESES = re.compile(r"\([^()]*\)")
_GREENWICH_BEFORE_OFFSET = re.compile(r"\b(?:GMT|UTC?)(?=[+-]\d)")
_YEAR_OR_MONTH = re.compile(r"\d{4}(-\d\d)?", re.ASCII)
_FAR_YEAR = re.compile(r"(?P<year>[+-]\d{6})(?P<rest>-\d\d-\d\d(?:T.*)?)", re.ASCII)
_TWO_DEFAULTS = (datetime(2001, 1, 1, tzinfo=UTC), datetime(2002, 2, 2, tzinfo=UTC))
_ZONES = dict(UTC=0, UT=0, GMT=0, Z=0, EST=-5, EDT=-4, CST=-6, CDT=-5, MST=-7, MDT=-6, PST=-8, PDT=-7)  # noqa: C408
"""The zones that JavaScript knows by name, in hours east of Greenwich."""


class ClientTime(NamedTuple):
    """An instant as the client told it.

    ``exact`` is the decimal text of its milliseconds, before anything is fitted into a column:
    equal instants have equal texts, however they were written. It is what identity hashes.
    ``micros`` is the instant, at most LATEST.
    """

    exact: bytes
    micros: int
    saturated: bool


def from_millis(millis: float) -> ClientTime:
    """Epoch milliseconds, as JavaScript counts. Raises InvalidEventError if negative or not finite."""
    if 0 <= millis < _EXACT_DOUBLES:
        whole = int(millis)
        if whole == millis and whole <= _LATEST_MILLIS:
            return tuple.__new__(ClientTime, (b"%d" % whole, whole * 1000, False))
    if not math.isfinite(millis) or millis < 0:
        raise InvalidEventError("timestamp must be a finite number of milliseconds since 1970")
    if isinstance(millis, float) and not millis.is_integer():
        exact, micros = repr(millis), round(millis * 1000)
    else:
        # JavaScript reads every number as a double: integers beyond 2**53 meet where they meet there.
        whole = int(float(millis))
        exact, micros = str(whole), whole * 1000
    if micros > LATEST:
        return ClientTime(exact.encode(), LATEST, saturated=True)
    return ClientTime(exact.encode(), micros, saturated=False)


def from_text(text: str) -> ClientTime | None:
    """What JavaScript's ``new Date(text)`` takes: ISO 8601 in all its forms, RFC 2822, and the like.

    A date alone is UTC, as in JavaScript; so is a time without offset, since our clocks are. None where
    no date can be read, which both vendors accept. Raises InvalidEventError for a time before 1970.
    """
    if len(text) > _LONGEST_TIME_TEXT:
        return None
    point = -1
    try:
        # ISO 8601, as the SDKs write it. It has one point or comma: before the fraction of its second.
        moment = datetime.fromisoformat(text)
    except ValueError:
        micros = _far_year(text) if text[:1] in ("+", "-") else _instant(text)
    else:
        micros = _micros(moment)
        point = max(text.find("."), text.find(","))
    if micros is None:
        return None
    if micros < 0:
        raise InvalidEventError("timestamp must not be before 1970")
    whole, fraction = divmod(micros, 1000)
    finer = _SUB_MICROSECOND_DIGITS.search(text) if point < 0 or text[point + 7 : point + 8].isdigit() else None
    exact = str(whole)
    if fraction or finer:
        exact = f"{whole}.{fraction:03d}{finer[1] if finer else ''}".rstrip("0")
    return ClientTime(exact.encode(), min(micros, LATEST), saturated=micros > LATEST)


def _instant(text: str) -> int | None:
    moment = _moment(text)
    return None if moment is None else _micros(moment)


def _micros(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _moment(text: str) -> datetime | None:
    # JavaScript passes over what stands in parentheses, such as the zone's name that Date.toString() writes.
    # dateutil reads GMT+0100 as POSIX does, an hour west; all others mean an hour east.
    text = _GREENWICH_BEFORE_OFFSET.sub("", _IN_PARENTHESES.sub("", text))
    if _YEAR_OR_MONTH.fullmatch(text):
        text += "-01-01" if len(text) == 4 else "-01"
    try:
        # Parts that the text leaves out come from the default. A text that names no whole date is none:
        # "10:00" would else be one and the same instant on every day.
        moments = [dateutil_parser.parse(text, default=default, tzinfos=_zone_offset) for default in _TWO_DEFAULTS]
    except (ValueError, OverflowError, TypeError):
        return None
    return moments[0] if moments[0] == moments[1] else None


def _zone_offset(name: str | None, offset: int | None) -> int | None:
    """Seconds east of Greenwich, for dateutil. Raises ValueError for a zone that JavaScript does not know."""
    if offset is not None or name is None:
        return offset
    if name not in _ZONES:
        raise ValueError(f"unknown zone {name}")
    return _ZONES[name] * 3600


def _far_year(text: str) -> int | None:
    """Microseconds of JavaScript's form for years of six digits and a sign; None for any other text.

    The calendar repeats every 400 years of 146,097 days, so the rest is read in a year that Python has.
    """
    found = _FAR_YEAR.fullmatch(text)
    if found is None or found["year"] == "-000000":
        return None
    year = int(found["year"])
    near = 2000 + year % 400
    try:
        moment = datetime.fromisoformat(f"{near}{found['rest']}")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // _MICROSECOND + (year - near) // 400 * 146_097 * 86_400_000_000
