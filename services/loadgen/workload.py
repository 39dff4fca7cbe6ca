"""The requests of a lane, in their order: reproducible, and as unruly as people, browsers and SDKs are."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import NamedTuple

from services.loadgen import langwatch_acts, lunary_acts
from services.loadgen.clock import ClientClock
from services.loadgen.plan import Plan, langwatch_trace, lunary_run
from services.loadgen.reading import LANGWATCH, LUNARY

_ZIPF = 1.1
_LATEST_REPEAT = 30
"""A retransmission comes up to so many requests of its lane later."""


class Step(NamedTuple):
    """One request of a lane, sent ``copies`` times at once, over as many connections.

    events: place and raw JSON of each event in it. acts: how many of them are feedback.
    """

    source: str
    body: bytes
    events: tuple[tuple[int, bytes], ...]
    acts: int
    copies: int = 1
    repeats: bool = False


class _Traces:
    """Picks the traces of a lane for one source, some much more often than others, and remembers each one's acts."""

    def __init__(self, plan: Plan, lane: int, random: Random) -> None:
        self._weights = _cumulated_zipf(max(1, plan.lane_traces(lane)))
        self._started = plan.started
        self._random = random
        self._clocks: dict[int, ClientClock] = {}

    def pick(self) -> int:
        return bisect(self._weights, self._random.random() * self._weights[-1])

    def tell_time(self, number: int) -> int | None:
        clock = self._clocks.get(number)
        if clock is None:
            clock = self._clocks[number] = ClientClock(self._random, self._started)
        return clock.tell(self._random)


class _LangWatchLane:
    """Writes the LangWatch requests of one lane."""

    def __init__(self, plan: Plan, lane: int, random: Random) -> None:
        self._plan, self._lane, self._random = plan, lane, random
        self._traces = _Traces(plan, lane, random)
        self._said: dict[int, list[langwatch_acts.Act]] = {}

    def step(self) -> Step:
        act = self._act()
        body = langwatch_acts.render(act, self._random)
        return Step(LANGWATCH, body, ((0, body),), 1)

    def _act(self) -> langwatch_acts.Act:
        random = self._random
        number = self._traces.pick()
        said = self._said.setdefault(number, [])
        draw = random.random()
        if said and draw < self._plan.corrections:
            corrected = langwatch_acts.correct(random, said[int(random.random() * len(said))])
            if corrected is not None:
                return corrected
        write = langwatch_acts.undo if said and draw > 1 - self._plan.undo else langwatch_acts.new_act
        act = write(random, langwatch_trace(self._plan, self._lane, number), self._traces.tell_time(number))
        said.append(act)
        return act


class _LunaryLane:
    """Writes the Lunary requests of one lane."""

    def __init__(self, plan: Plan, lane: int, random: Random) -> None:
        self._plan, self._lane, self._random = plan, lane, random
        self._traces = _Traces(plan, lane, random)
        self._said: dict[int, list[lunary_acts.Act]] = {}
        self._sizes = list(accumulate(weight for _, _, weight in plan.batch_sizes))

    def step(self, most: int) -> Step:
        """A request with at most ``most`` acts; those among other events may be none."""
        random, plan = self._random, self._plan
        low, high, _ = plan.batch_sizes[
            min(bisect(self._sizes, random.random() * self._sizes[-1]), len(self._sizes) - 1)
        ]
        raws, acts = [], 0
        for _ in range(low + int(random.random() * (high - low + 1))):
            if random.random() < plan.other:
                run = lunary_run(plan, self._lane, self._traces.pick())
                raws.append(lunary_acts.not_feedback(random, run, plan.started))
            elif acts < most:
                raws.append(lunary_acts.render(self._act()))
                acts += 1
        single = len(raws) == 1 and random.random() < 0.03
        events = b",".join(raws) if single else b"[" + b",".join(raws) + b"]"
        return Step(LUNARY, b'{"events":' + events + b"}", tuple(enumerate(raws)), acts)

    def _act(self) -> lunary_acts.Act:
        random = self._random
        number = self._traces.pick()
        said = self._said.setdefault(number, [])
        draw = random.random()
        if said and draw < self._plan.corrections:
            corrected = lunary_acts.correct(random, said[int(random.random() * len(said))])
            if corrected is not None:
                return corrected
        write = lunary_acts.undo if said and draw > 1 - self._plan.undo else lunary_acts.new_act
        run = lunary_run(self._plan, self._lane, number)
        act = write(random, run, lunary_acts.style_of(number), self._traces.tell_time(number))
        said.append(act)
        return act


def lane_steps(plan: Plan, lane: int) -> Iterator[Step]:
    """All requests of a lane: the acts that fall to it, and the repetitions of requests.

    A request is repeated byte for byte: concurrently, right after its answer, or some requests later, by when its
    events may have been corrected.
    """
    random = Random(f"{plan.seed}/{lane}")  # noqa: S311 - reproducible on purpose
    langwatch, lunary = _LangWatchLane(plan, lane, random), _LunaryLane(plan, lane, random)
    by_langwatch = plan.lane_langwatch_events(lane)
    by_lunary = plan.lane_events(lane) - by_langwatch
    langwatch_left, lunary_left, number = by_langwatch, by_lunary, 0
    repeats: dict[int, list[Step]] = {}
    while langwatch_left or lunary_left:
        # Whichever is further behind.
        if langwatch_left * by_lunary >= lunary_left * by_langwatch and langwatch_left:
            step = langwatch.step()
            langwatch_left -= 1
        else:
            step = lunary.step(lunary_left)
            lunary_left -= step.acts
        copies = 1
        if random.random() < plan.duplicates:
            draw = random.random()
            if draw < 0.3:
                copies = 2
            else:
                wait = 1 if draw < 0.6 else 1 + int(random.random() * _LATEST_REPEAT)
                repeats.setdefault(number + wait, []).append(step._replace(repeats=True))
        yield step._replace(copies=copies)
        number += 1
        yield from repeats.pop(number, ())
    for late in sorted(repeats):
        yield from repeats[late]


@lru_cache(maxsize=4)
def _cumulated_zipf(count: int) -> list[float]:
    return list(accumulate(1 / (rank + 1) ** _ZIPF for rank in range(count)))
