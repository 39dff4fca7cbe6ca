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

PLAUSIBLE_FROM = (datetime(2015, 1, 1, tzinfo=UTC) - EPOCH) // _MICROSECOND
"""No LLM had feedback before: an earlier time is seconds sent as milliseconds, or a dead clock."""

CLOCK_TOLERANCE = 300 * 1_000_000
"""A client clock may run this far ahead (5 min, as Kerberos allows) before its times are marked so."""

_LONGEST_TIME_TEXT = 100
_SUB_MICROSECOND_DIGITS = re.compile(r"[.,]\d{6}(\d*[1-9])0*(?!\d)")


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
    moment = _moment(text)
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    micros = (moment - EPOCH) // _MICROSECOND
    if micros < 0:
        raise InvalidEventError("timestamp must not be before 1970")
    exact = f"{micros // 1000}.{micros % 1000:03d}"
    if finer := _SUB_MICROSECOND_DIGITS.search(text):
        exact += finer[1]
    exact = exact.rstrip("0").rstrip(".")
    return ClientTime(exact.encode(), min(micros, LATEST), saturated=micros > LATEST)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        # Parts that the text leaves out are JavaScript's defaults, never today's date:
        # the same text must always be the same instant.
        return dateutil_parser.parse(text, default=datetime(2001, 1, 1, tzinfo=UTC))
    except (ValueError, OverflowError, TypeError):
        return None
