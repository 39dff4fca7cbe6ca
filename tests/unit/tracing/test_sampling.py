from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import pytest

from services.ingest_api.tracing.sampling import Allowance, Sampler
from shared.tracing.context import parent
from tests.unit.worker.doubles import ManualClock

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
NOT_SAMPLED = (b"traceparent", f"00-{TRACE}-{SPAN}-00".encode())
MALFORMED = (b"traceparent", b"00-nonsense-01")
# Of all trace ids the first that any ratio takes.
CHOSEN = (b"traceparent", f"00-{TRACE[:16]}{'0' * 15}1-{SPAN}-01".encode())

Headers = Sequence[tuple[bytes, bytes]]


class Dice(random.Random):
    """Shows what it was told to, in turn."""

    def __init__(self, shown: Iterable[float]) -> None:
        super().__init__()
        self._shown = iter(shown)

    def random(self) -> float:
        return next(self._shown)


def sampler(share: float, *, parent_based: bool = True, forced: float = 10, dice: Iterable[float] = ()) -> Sampler:
    allowance = Allowance(forced, ManualClock())
    return Sampler(parent_based=parent_based, share=share, forced=allowance, random=Dice(dice))


def traced(sample: Sampler, *headers: tuple[bytes, bytes]) -> str | None:
    """The trace that a request goes on with, "new" for one of its own, None if it is not traced."""
    context = sample([(b"host", b"door"), *headers, (b"accept", b"*/*")])
    if context is None:
        return None
    found = parent(context)
    return f"{found.trace_id:032x}" if found.is_valid else "new"


def test_of_requests_that_say_nothing_the_share_is_traced() -> None:
    sample = sampler(0.25, dice=[0.0, 0.2499, 0.25, 0.9])
    assert [traced(sample) for _ in range(4)] == ["new", "new", None, None]


def test_all_and_none() -> None:
    always, never = sampler(1, dice=[0.9999999]), sampler(0, dice=[0.0])
    assert (traced(always), traced(never)) == ("new", None)


def test_a_sender_that_traces_is_followed_into_its_trace() -> None:
    assert traced(sampler(0), SAMPLED) == TRACE


def test_a_sender_that_does_not_trace_is_followed_too() -> None:
    assert traced(sampler(1), NOT_SAMPLED) is None


@pytest.mark.parametrize("headers", [[MALFORMED], [SAMPLED, SAMPLED]], ids=["malformed", "two of them"])
def test_what_is_malformed_counts_as_nothing_said(headers: Headers) -> None:
    assert traced(sampler(0.5, dice=[0.4]), *headers) == "new"
    assert traced(sampler(0.5, dice=[0.6]), *headers) is None


def test_strangers_cannot_force_more_than_is_allowed() -> None:
    sample = sampler(0.5, forced=3, dice=[0.6, 0.4])
    assert [traced(sample, SAMPLED) for _ in range(5)] == [TRACE, TRACE, TRACE, None, TRACE]


def test_a_chosen_trace_id_is_no_way_round_the_share() -> None:
    sample = sampler(0.01, forced=0, dice=[0.5])
    assert traced(sample, CHOSEN) is None


@pytest.mark.parametrize("header", [SAMPLED, NOT_SAMPLED])
def test_without_parents_the_sender_has_no_say_but_it_stays_its_trace(header: tuple[bytes, bytes]) -> None:
    sample = sampler(0.5, parent_based=False, dice=[0.4, 0.6])
    assert [traced(sample, header) for _ in range(2)] == [TRACE, None]


def test_the_allowance_comes_back_with_time_and_does_not_pile_up() -> None:
    clock = ManualClock()
    allowance = Allowance(2, clock)
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    clock.now += 0.5
    assert [allowance.take() for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [allowance.take() for _ in range(3)] == [True, True, False]


def test_less_than_one_a_second_is_one_now_and_then() -> None:
    clock = ManualClock()
    allowance = Allowance(0.1, clock)
    assert [allowance.take() for _ in range(2)] == [True, False]
    clock.now += 9.5
    assert not allowance.take()
    clock.now += 0.6
    assert allowance.take()
