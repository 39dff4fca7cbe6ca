from __future__ import annotations

import re

from services.worker.entries import Holdings
from services.worker.main import consumer_name
from services.worker.read_size import LARGEST_ENTRY, ReadSize

from .doubles import ManualClock, entry, thumb

ONE, TWO = entry(thumb(), number=1), entry(thumb(), number=2)


def test_what_is_in_hand_is_not_taken_twice() -> None:
    holdings = Holdings(ManualClock())
    assert holdings.take([ONE]) == [ONE]
    assert holdings.take([ONE, TWO]) == [TWO]
    assert len(holdings) == 2


def test_what_was_released_can_be_taken_again() -> None:
    holdings = Holdings(ManualClock())
    holdings.take([ONE])
    holdings.release([ONE, TWO])
    assert len(holdings) == 0
    assert holdings.take([ONE]) == [ONE]


def test_the_same_id_on_another_stream_is_another_entry() -> None:
    holdings = Holdings(ManualClock())
    elsewhere = entry(thumb(), number=1, stream="other")
    assert holdings.take([ONE, elsewhere]) == [ONE, elsewhere]


def test_only_old_claims_are_due_and_renewing_makes_them_young() -> None:
    clock = ManualClock()
    holdings = Holdings(clock)
    holdings.take([ONE])
    clock.now += 5
    holdings.take([TWO])
    clock.now += 5
    assert list(holdings.due(10)) == [("s", [ONE.entry_id])]
    assert list(holdings.due(5)) == [("s", [ONE.entry_id, TWO.entry_id])]
    holdings.renewed("s", [ONE.entry_id])
    assert list(holdings.due(5)) == [("s", [TWO.entry_id])]


def test_renewing_what_is_gone_does_not_take_it_again() -> None:
    holdings = Holdings(ManualClock())
    holdings.take([ONE])
    holdings.release([ONE])
    holdings.renewed("s", [ONE.entry_id])
    assert len(holdings) == 0


def test_a_consumer_name_is_never_used_twice() -> None:
    names = {consumer_name() for _ in range(100)}
    assert len(names) == 100
    assert all(re.fullmatch(r".+-\d+-[0-9a-f]{8}", name) for name in names)


def test_a_first_read_is_safe_even_of_the_largest_entries() -> None:
    assert ReadSize(8 * LARGEST_ENTRY).count(1000) == 8


def test_small_entries_are_read_in_ever_larger_numbers() -> None:
    size = ReadSize(1_000_000)
    counts = []
    for _ in range(20):
        counts.append(size.count(1000))
        size.learn(1, 500)
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] == 1000


def test_large_entries_bring_the_number_down_at_once() -> None:
    size = ReadSize(1_000_000)
    for _ in range(30):
        size.learn(1, 100)
    size.learn(1, 100_000)
    assert size.count(1000) == 10


def test_an_entry_larger_than_the_target_is_still_read() -> None:
    size = ReadSize(1000)
    size.learn(1, 50_000)
    assert size.count(1000) == 1


def test_a_read_of_nothing_teaches_nothing() -> None:
    size = ReadSize(8 * LARGEST_ENTRY)
    size.learn(0, 0)
    assert size.count(1000) == 8
