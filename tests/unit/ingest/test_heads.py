"""Which connections are given up, told by doubles of uvicorn's."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.ingest_api.heads import HeadWatch


@dataclass(eq=False)
class Cycle:
    response_complete: bool = False


@dataclass(eq=False)
class Transport:
    aborted: bool = False

    def abort(self) -> None:
        self.aborted = True


@dataclass(eq=False)
class Connection:
    cycle: Cycle | None = None
    timeout_keep_alive_task: object | None = None
    transport: Transport = field(default_factory=Transport)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watched(*connections: Connection) -> tuple[HeadWatch, Clock]:
    clock = Clock()
    return HeadWatch(set(connections), 30.0, clock), clock


def test_a_connection_that_says_nothing_is_closed_when_its_time_is_up() -> None:
    silent = Connection()
    watch, clock = watched(silent)
    assert watch.sweep() == 0
    clock.now = 29.9
    assert watch.sweep() == 0
    clock.now = 30.0
    assert watch.sweep() == 1
    assert silent.transport.aborted


def test_half_a_head_after_a_complete_request_is_not_waited_for_either() -> None:
    stopped = Connection(cycle=Cycle(response_complete=True))
    watch, clock = watched(stopped)
    watch.sweep()
    clock.now = 30.0
    assert watch.sweep() == 1


def test_a_request_under_way_and_an_idle_connection_are_left_to_their_own_timers() -> None:
    busy, idle = Connection(cycle=Cycle()), Connection(Cycle(response_complete=True), timeout_keep_alive_task=object())
    watch, clock = watched(busy, idle)
    watch.sweep()
    clock.now = 1000.0
    assert watch.sweep() == 0
    assert not busy.transport.aborted
    assert not idle.transport.aborted


def test_time_counts_anew_with_every_request() -> None:
    connection = Connection()
    watch, clock = watched(connection)
    watch.sweep()
    connection.cycle = Cycle(response_complete=True)
    clock.now = 29.0
    watch.sweep()
    clock.now = 40.0
    assert watch.sweep() == 0
    clock.now = 59.0
    assert watch.sweep() == 1
