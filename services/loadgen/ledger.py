"""A file that outlives a generator that is killed: what it was about to send, and what was answered.

JSON lines. The first holds the plan, from which every request can be made again. Then intents, synced to disk before
their request is sent, and outcomes. An intent without an outcome is a request that may have arrived or not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from services.loadgen.history import Outcome, Span
from services.loadgen.options import OptionsError
from services.loadgen.outcomes import NEVER_SENT, Result, lost_answer
from services.loadgen.plan import Plan


class _Header(msgspec.Struct, frozen=True):
    plaudit_ledger: Literal[1]
    project: str
    plan: Plan


class _Intent(msgspec.Struct, frozen=True, array_like=True, tag="i"):
    """at: microseconds since 1970, before the request was sent."""

    lane: int
    place: int
    checksum: int
    copies: int
    at: int


class _Answer(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    lane: int
    place: int
    copy: int
    outcome: Outcome
    sent: int
    answered: int


def begin(path: Path, plan: Plan, project: str) -> None:
    """Writes the plan. Raises OptionsError if the file exists, which may be all that is left of another run."""
    try:
        with path.open("xb") as file:
            file.write(msgspec.json.encode(_Header(1, project, plan)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise OptionsError(f"{path} exists; a ledger is never overwritten") from error


class LedgerWriter:
    """Collects lines until they are taken and written. Several processes may append to one file.

    Writing may happen in another thread than the rest.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []

    def intend(self, lane: int, place: int, *, checksum: int, copies: int, at: int) -> None:
        self._lines.append(self._encoder.encode(_Intent(lane, place, checksum, copies, at)))

    def answer(self, lane: int, place: int, copy: int, result: Result) -> None:
        line = _Answer(lane, place, copy, result.outcome, result.received.lo, result.received.hi)
        self._lines.append(self._encoder.encode(line))

    def take(self) -> bytes:
        """The lines collected since the last time; empty when there are none."""
        lines, self._lines = self._lines, []
        return b"".join(line + b"\n" for line in lines)

    def write(self, lines: bytes) -> None:
        """Returns when the lines are on disk."""
        view = memoryview(lines)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fsync(self._fd)

    def close(self) -> None:
        self.write(self.take())
        os.close(self._fd)


class Ledger:
    """A ledger that was read back."""

    def __init__(self, plan: Plan, project: str) -> None:
        self.plan = plan
        self.project = project
        self._intents: dict[tuple[int, int], _Intent] = {}
        self._answers: dict[tuple[int, int, int], Result] = {}

    def result(self, lane: int, place: int, copy: int) -> Result:
        answer = self._answers.get((lane, place, copy))
        if answer is not None:
            return answer
        intent = self._intents.get((lane, place))
        return lost_answer(intent.at) if intent and copy < intent.copies else NEVER_SENT

    def checksum(self, lane: int, place: int) -> int | None:
        intent = self._intents.get((lane, place))
        return intent.checksum if intent else None

    def take(self, line: _Intent | _Answer) -> None:
        if isinstance(line, _Intent):
            self._intents[line.lane, line.place] = line
        else:
            self._answers[line.lane, line.place, line.copy] = Result(line.outcome, Span(line.sent, line.answered))


def read_ledger(path: Path) -> Ledger:
    """Raises OptionsError for what is no ledger. A last line that was cut off by a kill does not count."""
    decoder = msgspec.json.Decoder(_Intent | _Answer)
    try:
        with path.open("rb") as file:
            header = msgspec.json.decode(file.readline(), type=_Header)
            ledger = Ledger(header.plan, header.project)
            for line in file:
                if line.endswith(b"\n"):
                    ledger.take(decoder.decode(line))
    except OSError as error:
        raise OptionsError(f"{path} cannot be read ({error.strerror})") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise OptionsError(f"{path} is not a ledger of this release: {error}") from error
    return ledger
