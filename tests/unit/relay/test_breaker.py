from __future__ import annotations

import random

from services.ingest_api.relay.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _breaker(clock: Clock, threshold: int = 3) -> Breaker:
    return Breaker(threshold, 1.0, 8.0, clock=clock, random=random.Random(1))


def _open(breaker: Breaker, failures: int = 3) -> None:
    for _ in range(failures):
        assert breaker.wait() == 0
        breaker.failed()


def test_failures_in_a_row_open_it_and_a_success_between_starts_the_count_anew() -> None:
    breaker = _breaker(Clock())
    for _ in range(5):
        _open(breaker, 2)
        breaker.succeeded()
    assert breaker.wait() == 0
    _open(breaker)
    assert 0.75 <= breaker.wait() <= 1.0


def test_after_its_pause_one_request_tries_and_the_others_wait() -> None:
    clock = Clock()
    breaker = _breaker(clock)
    _open(breaker)
    clock.now += 1.0
    assert breaker.wait() == 0
    assert breaker.wait() > 0
    breaker.succeeded()
    assert not breaker.open
    assert breaker.wait() == 0


def test_each_trial_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    clock = Clock()
    breaker = _breaker(clock)
    _open(breaker)
    pauses = []
    for _ in range(6):
        pauses.append(breaker.wait())
        clock.now += pauses[-1]
        assert breaker.wait() == 0
        breaker.failed()
    for pause, full in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True):
        assert 0.75 * full <= pause <= full


def test_a_trial_that_was_not_made_leaves_the_place_to_another() -> None:
    clock = Clock()
    breaker = _breaker(clock)
    _open(breaker)
    clock.now += 1.0
    assert breaker.wait() == 0
    breaker.passed()
    assert breaker.wait() == 0


def test_requests_that_were_on_their_way_when_it_opened_do_not_prolong_it() -> None:
    clock = Clock()
    breaker = _breaker(clock)
    _open(breaker)
    pause = breaker.wait()
    for _ in range(20):
        breaker.failed()
    assert breaker.wait() == pause
