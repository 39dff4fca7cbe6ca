"""The clock of the people who judge one trace, and what client clocks do to their times."""

from __future__ import annotations

from random import Random

_SECOND = 1_000_000
_HOUR = 3600 * _SECOND


class ClientClock:
    """Gives each act its time, in microseconds since 1970; None where the client tells none.

    Usually the hour before the run, going on. Otherwise: about now; ahead, as the JavaScript SDK's timestamps run
    after a burst, or by hours; backdated; the same instant once more; seconds or microseconds sent as milliseconds.
    """

    __slots__ = ("_last", "_now", "_started")

    def __init__(self, random: Random, started: int) -> None:
        self._started = started
        self._now = started - _HOUR + int(random.random() * _HOUR / 2)
        self._last = self._now

    def tell(self, random: Random) -> int | None:
        draw = random.random()
        if draw < 0.80:
            self._now += 1 + int(random.random() * 20 * _SECOND)
            told = self._now
        elif draw < 0.85:
            return None
        elif draw < 0.90:
            told = self._started + int(random.random() * 5 * _SECOND)
        elif draw < 0.93:
            told = self._started + int((1 + random.random()) * _HOUR)
        elif draw < 0.96:
            told = self._now - int(random.random() * _HOUR)
        elif draw < 0.98:
            return self._last
        elif draw < 0.99:
            told = self._now // 1_000_000 * 1_000
        else:
            told = self._now * 1_000
        self._last = told
        return told
