"""The spool: an append-only log on the local disk, for what Redis does not take.

A folder a process, locked while the process lives, holding numbered segments. A record is one request: its length, a
CRC-32 and the encoded envelopes of all its parts. What a crash tore off at the end of a segment was never acknowledged
and is ignored. A segment is deleted when all of it is in Redis; a crash before that replays it again, which changes no
answer, since every record kept its request_id.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import zlib
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from struct import Struct

import msgspec
import structlog

from shared.errors import PlauditError

log = structlog.get_logger()

Record = Sequence[bytes]
"""One request: its encoded envelopes."""

_HEADER = Struct(">II")
_SUFFIX = ".spool"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[bytes])


class SpoolFullError(PlauditError):
    """The spool holds as much as it may, or the disk as much as it can. ``held`` in bytes."""

    def __init__(self, held: int, reason: str) -> None:
        super().__init__(f"spool: {reason}")
        self.held = held
        self.reason = reason


class Folder:
    """One process's folder, locked. Its segments are only ever touched by the holder of the lock."""

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError if another process holds it."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise

    def segments(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.path.glob(f"*{_SUFFIX}"))

    def close(self) -> None:
        """Unlocks it, and removes it if nothing is left in it."""
        if not self.segments():
            with contextlib.suppress(OSError):
                (self.path / "lock").unlink()
                self.path.rmdir()
        os.close(self._lock)


class Spool:
    """Synchronous and not for two threads at once: whoever uses it sees to that. ``capacity``, ``segment``: bytes."""

    def __init__(self, root: Path, *, capacity: int, segment: int = 16 * 1024 * 1024) -> None:
        self._root = root
        self._capacity = capacity
        self._segment_bytes = segment
        self._own = Folder(root / f"{os.getpid()}-{secrets.token_hex(4)}")
        self._adopted: list[Folder] = []
        self._file: FileIO | None = None
        self._next = 0
        self.held = 0
        self.adopt()

    @property
    def empty(self) -> bool:
        return self.held == 0

    def adopt(self) -> int:
        """Takes over the folders of processes that are gone; returns how many bytes they hold."""
        found = 0
        for path in sorted(self._root.iterdir()):
            if not path.is_dir() or path == self._own.path or any(path == folder.path for folder in self._adopted):
                continue
            try:
                folder = Folder(path)
            except BlockingIOError:
                continue
            size = sum(segment.stat().st_size for segment in folder.segments())
            if size == 0:
                folder.close()
                continue
            self._adopted.append(folder)
            found += size
            log.info("spool_adopted", folder=path.name, bytes=size)
        self.held += found
        return found

    def append(self, records: Sequence[Record]) -> None:
        """Returns when all of them are on the disk. Raises SpoolFullError, and then none of them is there."""
        framed = b"".join(_frame(record) for record in records)
        if self.held + len(framed) > self._capacity:
            raise SpoolFullError(self.held, f"full: {self._capacity} bytes")
        try:
            file = self._file or self._new_segment()
            start = file.tell()
            try:
                rest = memoryview(framed)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                # Half a group must not come back: its sender is told that nothing was taken.
                with contextlib.suppress(OSError):
                    file.truncate(start)
                    file.seek(start)
                self._close_segment()
                raise
        except OSError as error:
            raise SpoolFullError(self.held, f"{error.strerror or error}") from error
        self.held += len(framed)
        if file.tell() >= self._segment_bytes:
            self._close_segment()

    def oldest(self) -> Path | None:
        """The segment to replay next; the one that is being written is closed for it."""
        for folder in (*self._adopted, self._own):
            if segments := folder.segments():
                if folder is self._own and len(segments) == 1:
                    self._close_segment()
                return segments[0]
        return None

    def remove(self, segment: Path) -> None:
        """All of it is in Redis."""
        size = segment.stat().st_size
        segment.unlink()
        self.held = max(0, self.held - size)
        for folder in self._adopted:
            if folder.path == segment.parent and not folder.segments():
                folder.close()
                self._adopted.remove(folder)
                break

    def close(self) -> None:
        """What is left is adopted by the next process that starts."""
        self._close_segment()
        for folder in (*self._adopted, self._own):
            folder.close()

    def _new_segment(self) -> FileIO:
        path = self._own.path / f"{self._next:010d}{_SUFFIX}"
        self._next += 1
        # Unbuffered: a buffer would try again, later and torn, what was refused.
        self._file = path.open("xb", buffering=0)
        path.chmod(0o600)
        # The name of a file is on the disk only when its folder is.
        folder = os.open(self._own.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self._file

    def _close_segment(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read(segment: Path) -> Iterator[Record]:
    """The records of a segment, in order, up to the first that is torn or damaged."""
    with segment.open("rb") as file:
        size = segment.stat().st_size
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size:
                break
            length, checksum = _HEADER.unpack(header)
            body = file.read(length)
            # No record is empty: zeros are what a power failure leaves of a file that had grown.
            if not length or len(body) < length or zlib.crc32(body) != checksum:
                break
            yield _decoder.decode(body)
        else:
            return
        log.warning("spool_tail_ignored", segment=segment.name, bytes=size - file.tell())


def _frame(record: Record) -> bytes:
    body = _encoder.encode(list(record))
    return _HEADER.pack(len(body), zlib.crc32(body)) + body
