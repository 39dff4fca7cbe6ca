"""The circuit breaker: a vendor that does not answer is left alone for a while, then tried with one request."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable


class Breaker:
    """Opens after ``threshold`` failures in a row. Decides only; whoever asks it does the waiting.

    first, longest: seconds that it stays open, doubling from one to the other with every trial that fails; less a
    random quarter, so that many doors do not try at one moment. clock: monotonic seconds.
    """

    _ASK_AGAIN = 0.25

    def __init__(
        self,
        threshold: int,
        first: float,
        longest: float,
        *,
        clock: Callable[[], float],
        random: random_module.Random,
    ) -> None:
        self._threshold = threshold
        self._first = first
        self._longest = longest
        self._clock = clock
        self._random = random
        self._failures = 0
        self._openings = 0
        self._until = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """Whether requests wait, or one of them is the trial."""
        return self._openings > 0

    def wait(self) -> float:
        """0: send now, and tell ``succeeded``, ``failed`` or ``passed`` afterwards. Else: seconds to wait."""
        if not self._openings:
            return 0.0
        remaining = self._until - self._clock()
        if remaining > 0:
            return remaining
        if self._trying:
            return self._ASK_AGAIN
        self._trying = True
        return 0.0

    def succeeded(self) -> None:
        """The vendor answered: whatever it said, it is there."""
        self._failures = self._openings = 0
        self._trying = False

    def passed(self) -> None:
        """The request was not sent after all: another may be the trial."""
        self._trying = False

    def failed(self) -> None:
        """No answer, or one that says that the vendor is in trouble."""
        self._failures += 1
        if self._openings and not self._trying:
            # Sent before it opened: nothing new.
            return
        if self._failures >= self._threshold or self._trying:
            self._openings += 1
            pause = min(self._longest, self._first * 2 ** min(self._openings - 1, 32))
            self._until = self._clock() + pause * self._random.uniform(0.75, 1.0)
        self._trying = False
