import random
from itertools import pairwise

import pytest

from services.standalone.backoff import Backoff


def test_delays_grow_and_stay_under_the_cap() -> None:
    backoff = Backoff(random.Random(7))
    delays = [backoff.after(0.0) for _ in range(2000)]
    assert 0.125 <= delays[0] <= 0.25
    assert all(7.5 <= delay <= 15.0 for delay in delays[10:])
    assert all(low <= high * 2 for low, high in pairwise(delays))


def test_a_long_life_starts_the_count_anew() -> None:
    backoff = Backoff(random.Random(7))
    for _ in range(10):
        backoff.after(1.0)
    assert backoff.after(31.0) <= 0.25


@pytest.mark.parametrize("seed", range(5))
def test_two_children_do_not_wait_alike(seed: int) -> None:
    one, other = Backoff(random.Random(seed)), Backoff(random.Random(seed + 100))
    assert [one.after(0) for _ in range(3)] != [other.after(0) for _ in range(3)]
