"""How many entries to ask Redis for, so that one reply stays near a number of bytes.

An entry may weigh 100 bytes or half a megabyte, and a reply is held in memory whole.
"""

from __future__ import annotations

LARGEST_ENTRY = 512 * 1024
"""Bytes. The door splits larger requests; expected until something is known, so that a first read is safe."""


class ReadSize:
    """Learns from what was read. ``target`` in bytes."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._entry_size = float(LARGEST_ENTRY)

    def count(self, most: int) -> int:
        """Entries that should weigh about the target; between 1 and ``most``."""
        return max(1, min(most, int(self._target / self._entry_size)))

    def learn(self, entries: int, size: int) -> None:
        """So many entries weighed so many bytes together. Larger ones count at once, smaller ones gradually: the limit
        is there for the large.
        """
        if entries:
            size_each = size / entries
            self._entry_size = max(size_each, 0.5 * (self._entry_size + size_each), 1.0)
