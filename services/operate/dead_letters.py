"""``plaudit dead-letters``: what could not be stored, for someone to look at, send again or throw away."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.table import Table

from shared.dead_letters import DeadLetter, DeadLetterBox
from shared.envelope import FIELD, encode
from shared.errors import PlauditError, StoreUnavailableError
from shared.settings import RedisSettings
from shared.storage import describe
from shared.streams import connect, partitions
from shared.times import EPOCH

T = TypeVar("T")

_IN_ONE_MULTI = 100
_AGE = re.compile(r"(\d+)\s*(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MICROSECOND = timedelta(microseconds=1)
_REASON_SHOWN = 100


class MomentError(PlauditError):
    """A text that tells no moment."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no moment: write 2026-01-31, 2026-01-31T12:00 (UTC) or an age like 30m, 12h, 7d")
        self.text = text


def moment(text: str, now: datetime) -> int:
    """Microseconds since 1970 of a date, a time, or an age before ``now``. Raises MomentError."""
    try:
        if age := _AGE.fullmatch(text.strip()):
            told = now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        else:
            told = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise MomentError(text) from None
    if told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    return (told - EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters: those of ``ids``, or where there are none, all that meet every other condition.

    reason: part of the reason, case ignored. since, until: when it was set aside, microseconds since 1970; from the
    first to before the second.
    """

    ids: frozenset[str] = frozenset()
    reason: str | None = None
    project: str | None = None
    since: int | None = None
    until: int | None = None

    @property
    def anything(self) -> bool:
        """Whether it leaves nothing out."""
        return self == Choice()

    def takes(self, letter: DeadLetter) -> bool:
        if self.ids:
            return letter.id in self.ids
        return (
            (self.reason is None or self.reason.casefold() in letter.reason.casefold())
            and (self.project is None or self.project == letter.project_id)
            and (self.since is None or self.since <= letter.at)
            and (self.until is None or letter.at < self.until)
        )


@dataclass(slots=True)
class Replay:
    """What became of letters that were to be replayed. ``no_envelopes``: ids of what no door ever wrote."""

    replayed: int
    no_envelopes: list[str]


class DeadLetterDesk:
    """The duties of the command. Raises StoreUnavailableError where Redis does not do its part."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings

    async def choose(self, choice: Choice) -> list[DeadLetter]:
        """The oldest first."""

        async def choosing(redis: Redis) -> list[DeadLetter]:
            letters = [letter async for letter in DeadLetterBox(redis).all() if choice.takes(letter)]
            return sorted(letters, key=lambda letter: (letter.at, letter.id))

        return await self._with_redis(choosing)

    async def replay(self, letters: Sequence[DeadLetter], progress: Callable[[int], None]) -> Replay:
        """Appends each letter's event to the log again, and then takes it out of the dead letters.

        Same request, same receipt, so the same identity: done twice, it changes nothing. ``progress`` is told how many
        are done each time. What is still not storable comes back under the same id.
        """
        streams = partitions(self._settings)

        async def replaying(redis: Redis) -> Replay:
            whole = [letter for letter in letters if letter.envelope]
            for start in range(0, len(whole), _IN_ONE_MULTI):
                chunk = whole[start : start + _IN_ONE_MULTI]
                adding = redis.pipeline(transaction=False)
                for letter in chunk:
                    assert letter.envelope is not None
                    stream = streams[letter.envelope.request_id[0] % len(streams)]
                    adding.xadd(stream, {FIELD: encode(letter.envelope)})
                await adding.execute()
                # Not in one MULTI: in a cluster they lie apart. What is added twice changes nothing.
                await DeadLetterBox(redis).remove([letter.id for letter in chunk])
                progress(len(chunk))
            return Replay(len(whole), [letter.id for letter in letters if not letter.envelope])

        return await self._with_redis(replaying)

    async def discard(self, ids: Sequence[str]) -> int:
        """Throws them away for good; returns how many were there."""
        return await self._with_redis(lambda redis: DeadLetterBox(redis).remove(ids))

    async def _with_redis(self, duty: Callable[[Redis], Awaitable[T]]) -> T:
        redis = connect(self._settings)
        try:
            return await duty(redis)
        except (RedisError, OSError) as error:
            raise StoreUnavailableError("redis", describe(error)) from error
        finally:
            await redis.aclose()


def summary(letter: DeadLetter) -> dict[str, Any]:
    """A letter without its content."""
    envelope = letter.envelope
    return {
        "id": letter.id,
        "reason": letter.reason,
        "at": _iso(letter.at),
        "project": letter.project_id,
        "source": envelope.source if envelope else None,
        "request_id": envelope.request_id.hex() if envelope else None,
        "received_at": _iso(envelope.received_at) if envelope else None,
        "stream": letter.stream,
        "entry_id": letter.entry_id,
        "replayable": envelope is not None,
    }


def whole(letter: DeadLetter) -> dict[str, Any]:
    """A letter with all that was kept."""
    raw = [event.raw for event in letter.envelope.events] if letter.envelope else [letter.payload]
    return {**summary(letter), "content": [text.decode(errors="backslashreplace") for text in raw]}


def render(letters: Iterable[DeadLetter]) -> Table:
    """For a terminal."""
    table = Table("set aside", "project", "source", "reason", "id")
    for letter in letters:
        told = summary(letter)
        reason = letter.reason if len(letter.reason) <= _REASON_SHOWN else letter.reason[:_REASON_SHOWN] + "…"
        table.add_row(told["at"][:19], told["project"] or "", told["source"] or "", reason, letter.id)
    return table


def _iso(micros: int) -> str:
    try:
        return (EPOCH + timedelta(microseconds=micros)).isoformat()
    except OverflowError:
        # Of a poison envelope even the time may be nonsense; it must be shown all the same.
        return f"{micros} µs"
