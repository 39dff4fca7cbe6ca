"""Which request comes next: lanes wait for their answers, and for their ledger."""

from __future__ import annotations

from collections import deque

from services.loadgen.plan import GAP
from services.loadgen.requests import Prebuilt

_GAP_SECONDS = GAP / 1e6


class Lanes:
    """Hands out requests, at most one of each lane at a time; lanes take turns by when they became free."""

    def __init__(self, requests: Prebuilt) -> None:
        self._requests = requests
        self._next = list(requests.first[:-1])
        self._ready: deque[tuple[float, int]] = deque()
        self._under_way: dict[int, tuple[int, int]] = {}
        self.unfinished = 0

    def begin(self) -> list[int]:
        """The lanes that have something to send. They are not ready yet: ``make_ready`` says when."""
        lanes = [slot for slot in range(len(self._next)) if self._next[slot] < self._requests.first[slot + 1]]
        self.unfinished = len(lanes)
        return lanes

    def upcoming(self, slot: int) -> int:
        """The number of the lane's next request."""
        return self._next[slot]

    def place(self, slot: int, number: int) -> int:
        """Where in its lane a request stands."""
        return number - self._requests.first[slot]

    def make_ready(self, slot: int, not_before: float) -> None:
        """``not_before``: monotonic seconds."""
        self._ready.append((not_before, slot))

    def ready_at(self) -> float | None:
        """When the next lane may send, in monotonic seconds; None while all wait for answers."""
        return self._ready[0][0] if self._ready else None

    def take(self) -> int:
        """The next request; the caller has seen that its lane is ready. All its copies are then under way."""
        _, slot = self._ready.popleft()
        number = self._next[slot]
        self._next[slot] = number + 1
        self._under_way[number] = (slot, self._requests.copies[number])
        return number

    def slot_of(self, number: int) -> int:
        return self._under_way[number][0]

    def settle(self, number: int) -> int | None:
        """One copy of a request is over. Gives the lane if it was the last copy and the lane has more to send."""
        slot, copies = self._under_way[number]
        if copies > 1:
            self._under_way[number] = (slot, copies - 1)
            return None
        del self._under_way[number]
        if self._next[slot] < self._requests.first[slot + 1]:
            return slot
        self.unfinished -= 1
        return None

    @staticmethod
    def after_gap(now: float) -> float:
        return now + _GAP_SECONDS
