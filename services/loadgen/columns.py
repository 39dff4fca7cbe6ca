"""Whether a row says what was sent, column by column."""

from __future__ import annotations

import json
from collections.abc import Mapping

from services.loadgen.history import ExpectedEvent, Version
from services.loadgen.reading import AsJson, Detail
from services.loadgen.stored import StoredEvent

_AHEAD = 300 * 1_000_000
"""Microseconds after which a client time counts as ahead of its receipt."""

_PLAUSIBLE_FROM = 1_420_070_400 * 1_000_000
"""2015-01-01: earlier client times count as past."""


def faults(event: ExpectedEvent, row: StoredEvent) -> list[str]:
    """The columns that fit none of the versions that may stand; those of the best fit. Empty when one fits."""
    return min((differences(version, row) for version in event.candidates), key=len)


def differences(version: Version, row: StoredEvent) -> list[str]:
    """The columns in which a row differs from one version of an event."""
    reading = version.reading
    timestamp = reading.moment.micros if reading.moment else row.received_at
    wanted = {
        "event_type": reading.event_type,
        "timestamp": timestamp,
        "time_status": _time_status(version, row.received_at),
        "version": (row.received_at << 64) | (row.request_id >> 84 << 20) | row.event_index,
        "vote": reading.vote,
        "comment": reading.comment,
        "metrics": reading.metrics,
        "user_id": reading.user_id,
        "thread_id": reading.thread_id,
        "event_id": reading.event_id,
        "event_index": version.place,
        "raw": reading.raw,
    }
    differences = [name for name, value in wanted.items() if getattr(row, name) != value]
    if not _same_details(reading.details, row.details):
        differences.append("details")
    return differences


def _time_status(version: Version, received_at: int) -> str:
    moment = version.reading.moment
    if moment is None:
        return "none"
    if moment.saturated:
        return "out_of_range"
    if moment.micros < _PLAUSIBLE_FROM:
        return "past"
    return "ahead" if moment.micros > received_at + _AHEAD else "client"


def _same_details(wanted: Mapping[str, Detail], stored: Mapping[str, str | None]) -> bool:
    return wanted.keys() == stored.keys() and all(_same_detail(wanted[name], stored[name]) for name in wanted)


def _same_detail(wanted: Detail, stored: str | None) -> bool:
    if not isinstance(wanted, AsJson):
        return wanted == stored
    try:
        return stored is not None and bool(json.loads(stored) == wanted.value)
    except ValueError:
        return False
