"""``plaudit import``: feedback from before, as NDJSON in either vendor's own format, through the same log, normalizer
and identity as what comes in at the door. Running it twice changes nothing.

Each line becomes one entry of the log. What the door mints by chance is here a function of the line: its request id is
a hash of project, source and text, and it counts as received when it happened. So an event that also came in live is
recognised as the same, what came in live later stands, and a line may move within the file or come in another one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.errors import InvalidEventError, MalformedJSONError, PlauditError
from shared.events import FeedbackEvent, Receipt, Source, TimeStatus, length_prefixed
from shared.formats import NORMALIZERS
from shared.settings import RedisSettings
from shared.streams import connect, partitions

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger()

_LINES_AT_ONCE = 1_000
_LONGEST_LINE = 1 << 20
_FAULTS_SHOWN = 20
_PAUSE = 0.25


class ImportRefusedError(PlauditError):
    """The file cannot be imported as asked; the message says what to change."""


@dataclass(slots=True)
class Imported:
    """``lines``: read, in all runs on this file. ``appended``: now in the log. ``skipped``: blank, or no feedback.
    ``faults``: line numbers from 1 and why, the first of them.
    """

    lines: int = 0
    appended: int = 0
    skipped: int = 0
    faulty: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """``timeless_at``: microseconds since 1970 that events without a time of their own count as received at; None
    refuses them. ``most_waiting``: entries in the log above which the import waits for the workers.
    """

    file: Path
    source: Source
    project: str
    timeless_at: int | None
    most_waiting: int
    restart: bool


class _Position(msgspec.Struct):
    """Where an import was interrupted, beside the file. ``of``: names the file and what it was imported as."""

    of: str
    offset: int
    imported: Imported


async def import_file(
    redis_settings: RedisSettings, options: ImportOptions, now: int, advance: Callable[[int], None]
) -> Imported:
    """Appends the file's feedback to the log. ``now``: microseconds since 1970. ``advance`` is told of bytes done.

    Interrupted, it goes on where it was. Raises ImportRefusedError, OSError or RedisError.
    """
    size = options.file.stat().st_size
    bookmark = options.file.with_name(f"{options.file.name}.plaudit-import")
    identity = _file_identity(options)
    position = _resume(bookmark, identity) if not options.restart else None
    imported = position.imported if position else Imported()
    reader = LineReader(options, now, imported)
    redis = connect(redis_settings)
    try:
        with options.file.open("rb") as file:
            if position:
                file.seek(position.offset)
                advance(position.offset)
            while lot := list(_lines(file)):
                await _room(redis, redis_settings, options.most_waiting)
                await _append(redis, redis_settings, [entry for line in lot for entry in reader.read(line)])
                advance(sum(map(len, lot)))
                _mark(bookmark, _Position(identity, file.tell(), imported))
    finally:
        await redis.aclose()
    bookmark.unlink(missing_ok=True)
    log.info("import_done", file_bytes=size, lines=imported.lines, appended=imported.appended, faulty=imported.faulty)
    return imported


def _lines(file: Any) -> Iterator[bytes]:
    for _ in range(_LINES_AT_ONCE):
        line = file.readline(_LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > _LONGEST_LINE:
            raise ImportRefusedError(f"a line at byte {file.tell():,} is longer than {_LONGEST_LINE:,} bytes")
        yield line


class LineReader:
    """Makes envelopes of lines, and counts in ``imported``."""

    def __init__(self, options: ImportOptions, now: int, imported: Imported) -> None:
        self._project = options.project
        self._source = options.source
        self._timeless_at = options.timeless_at
        self._normalize = NORMALIZERS[options.source]
        self._now = now
        self._imported = imported

    def read(self, line: bytes) -> Iterator[Envelope]:
        """The line's envelope, or nothing for what is no feedback or at fault."""
        self._imported.lines += 1
        text = line.strip().removeprefix(b"\xef\xbb\xbf")
        if not text:
            self._imported.skipped += 1
            return
        try:
            envelope = self._envelope(text)
        except InvalidEventError as error:
            self._fault(error.message)
        except MalformedJSONError as error:
            self._fault(error.reason)
        else:
            if envelope is None:
                self._imported.skipped += 1
            else:
                self._imported.appended += 1
                yield envelope

    def _envelope(self, text: bytes) -> Envelope | None:
        fields = (self._project.encode(), self._source.encode(), text)
        request_id = blake2b(b"".join(map(length_prefixed, fields)), digest_size=16).digest()
        event = self._normalize(self._receipt(request_id, self._now), 0, text)
        if event is None:
            return None
        received_at = self._received_at(event)
        return Envelope(self._project, self._source, request_id, received_at, [RawEvent(0, text)], replayed=True)

    def _received_at(self, event: FeedbackEvent) -> int:
        if event.time_status == TimeStatus.CLIENT and event.timestamp <= self._now:
            return event.timestamp
        if self._timeless_at is None:
            raise InvalidEventError(
                "has no time of its own that can be right: say with --at when it counts as received"
            )
        return self._timeless_at

    def _receipt(self, request_id: bytes, received_at: int) -> Receipt:
        return Receipt(
            project_id=self._project,
            source=self._source,
            request_id=request_id,
            received_at=received_at,
            entry_id="",
        )

    def _fault(self, reason: str) -> None:
        self._imported.faulty += 1
        if len(self._imported.faults) < _FAULTS_SHOWN:
            self._imported.faults.append((self._imported.lines, reason))


async def _append(redis: Redis, settings: RedisSettings, envelopes: list[Envelope]) -> None:
    streams = partitions(settings)
    pipe = redis.pipeline(transaction=False)
    for envelope in envelopes:
        stream = streams[int.from_bytes(envelope.request_id[:4], "big") % len(streams)]
        pipe.xadd(stream, {FIELD: encode(envelope)})
    if envelopes:
        await pipe.execute()


async def _room(redis: Redis, settings: RedisSettings, most_waiting: int) -> None:
    """Waits until the log is short enough: a backfill must not push live feedback out."""
    while True:
        waiting = sum([await redis.xlen(stream) for stream in partitions(settings)])
        if waiting < most_waiting:
            return
        await asyncio.sleep(_PAUSE)


def _file_identity(options: ImportOptions) -> str:
    with options.file.open("rb") as file:
        head = file.read(65_536)
    fields = (options.project.encode(), options.source.encode(), str(options.timeless_at).encode(), head)
    return blake2b(b"".join(map(length_prefixed, fields)), digest_size=16).hexdigest()


def _resume(bookmark: Path, identity: str) -> _Position | None:
    try:
        position = msgspec.json.decode(bookmark.read_bytes(), type=_Position)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ImportRefusedError(f"{bookmark} is damaged: delete it, or use --restart") from error
    if position.of != identity:
        raise ImportRefusedError(
            f"{bookmark} is of another file, project, source or --at: delete it, or use --restart; "
            "importing a line twice changes nothing"
        )
    return position


def _mark(bookmark: Path, position: _Position) -> None:
    temporary = bookmark.with_name(f"{bookmark.name}.tmp")
    with temporary.open("wb") as file:
        file.write(msgspec.json.encode(position))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(bookmark)


def shown(imported: Imported) -> str:
    """For a terminal."""
    counts = f"{imported.skipped:,} were no feedback, {imported.faulty:,} faulty"
    lines = [f"{imported.appended:,} of {imported.lines:,} lines are in the log; {counts}"]
    lines += [f"  line {number:,}: {reason}" for number, reason in imported.faults]
    return "\n".join(lines)
