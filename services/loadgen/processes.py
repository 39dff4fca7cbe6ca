"""A run spread over processes: each builds and sends its own lanes; they start together."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from services.loadgen.options import OptionsError
from services.loadgen.sending import Assignment, Listener, send
from services.loadgen.sent import Sent


@dataclass(frozen=True, slots=True)
class _Built:
    acts: int


@dataclass(frozen=True, slots=True)
class _Progress:
    acts: int


@dataclass(frozen=True, slots=True)
class _Ready:
    pass


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str


_Message = _Built | _Progress | _Ready | _Failed | Sent


class ProcessLostError(OptionsError):
    """A process of the generator died; what it sent is known only to the ledger, if there is one."""


def send_all(assignments: Sequence[Assignment], listener: Listener) -> list[Sent]:
    """Like ``send`` for each assignment, in a process each if there are several. Raises TargetAwayError."""
    if len(assignments) == 1:
        return [send(assignments[0], listener)]
    # Processes are started from scratch: a forked one would share open connections and locks held by threads.
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes = []
    for assignment in assignments:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(assignment, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    handler = signal.getsignal(signal.SIGINT)
    try:
        return _collect(pipes, listener)
    finally:
        signal.signal(signal.SIGINT, handler)
        for process in processes:
            process.terminate()
            process.join()


def _collect(pipes: Sequence[Connection], listener: Listener) -> list[Sent]:
    results: dict[Connection, Sent] = {}
    ready = 0
    while len(results) < len(pipes):
        for pipe in wait([pipe for pipe in pipes if pipe not in results]):
            assert isinstance(pipe, Connection)
            match _receive(pipe):
                case Sent() as sent:
                    results[pipe] = sent
                case _Built(acts):
                    listener.built(acts)
                case _Progress(acts):
                    listener.sent(acts)
                case _Failed(reason):
                    raise OptionsError(reason)
                case _Ready():
                    ready += 1
                    if ready == len(pipes):
                        listener.wait_for_start()
                        # From here on Ctrl-C ends the sending in each process; the terminal tells them all.
                        signal.signal(signal.SIGINT, signal.SIG_IGN)
                        for waiting in pipes:
                            waiting.send(_Ready())
    return [results[pipe] for pipe in pipes]


def _receive(pipe: Connection) -> _Message:
    try:
        message: _Message = pipe.recv()
    except EOFError as error:
        raise ProcessLostError("a process of the load generator died") from error
    return message


def _work(assignment: Assignment, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait_for_start() -> None:
        pipe.send(_Ready())
        pipe.recv()

    listener = Listener(
        built=lambda acts: pipe.send(_Built(acts)),
        wait_for_start=wait_for_start,
        sent=lambda acts: pipe.send(_Progress(acts)),
    )
    # A broken pipe means that the parent is dead; its ledger, if any, tells what was sent.
    with contextlib.suppress(OSError):
        try:
            pipe.send(send(assignment, listener))
        except OptionsError as error:
            pipe.send(_Failed(str(error)))
