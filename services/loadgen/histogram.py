"""A histogram of durations with a bounded relative error, cheap enough for every request."""

from __future__ import annotations

_SUB_BITS = 6
_SUB = 1 << _SUB_BITS


class Histogram:
    """Counts microseconds in buckets of which each power of two has 32: a value is off by 3 % at most.

    Histograms of several processes add up without loss.
    """

    __slots__ = ("counts", "greatest")

    def __init__(self, counts: list[int] | None = None, greatest: int = 0) -> None:
        self.counts = counts or [0] * (_SUB * 16)
        self.greatest = greatest

    def record(self, micros: int) -> None:
        """Negative durations (a clock that was set back) count as zero; above an hour as an hour."""
        micros = min(max(micros, 0), 3_600_000_000)
        self.greatest = max(self.greatest, micros)
        if micros < _SUB:
            self.counts[micros] += 1
        else:
            shift = micros.bit_length() - _SUB_BITS
            # The top bit is always set, so each power of two fills the upper half of its 64 slots.
            self.counts[_SUB + (shift - 1) * (_SUB // 2) + (micros >> shift) - _SUB // 2] += 1

    def add(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.greatest = max(self.greatest, other.greatest)

    @property
    def total(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> int:
        """The least bucket end, in microseconds, that ``share`` of the values do not exceed; 0 when empty."""
        wanted = share * self.total
        seen = 0
        for slot, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(_slot_end(slot), self.greatest)
        return self.greatest


def _slot_end(slot: int) -> int:
    if slot < _SUB:
        return slot
    shift, place = divmod(slot - _SUB, _SUB // 2)
    return ((place + _SUB // 2 + 1) << (shift + 1)) - 1
