"""Tombstones: whose feedback was erased. Workers ask them before every insert, so that nothing in flight comes back.

They live in ClickHouse, beside what they are about: a restored backup brings its own, and no cache can lose them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol, TypeVar

from shared.events import length_prefixed

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TABLE = "erasures"

TRUSTED_FOR = 5.0
"""Seconds that a process goes by the tombstones it knows; whoever erases waits for longer than that."""


class ErasureKind(StrEnum):
    """What a name names."""

    USER = "user"
    TRACE = "trace"


def name_hash(project_id: str, kind: ErasureKind, name: str) -> str:
    """Hex; the name itself is personal, and not to be kept."""
    fields = b"".join(length_prefixed(part.encode("utf-8", "surrogatepass")) for part in (project_id, kind, name))
    return blake2b(fields, digest_size=16).hexdigest()


_LOAD = f"SELECT project_id, kind, name_hash, toUnixTimestamp64Micro(requested_at) FROM {TABLE} FINAL"  # noqa: S608


class Erasable(Protocol):
    """What may name a person or a trace. received_at: microseconds since 1970."""

    @property
    def project_id(self) -> str: ...
    @property
    def trace_id(self) -> str: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def received_at(self) -> int: ...


Row = TypeVar("Row", bound=Erasable)


class Tombstones:
    """All of them, as of the last seconds. Safe to be asked by several threads. ``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._loaded_at = float("-inf")
        self._before: dict[tuple[str, ErasureKind], dict[str, int]] = {}

    def refresh(self, client: Client) -> None:
        """Loads them, unless they were just now. Raises what the client raises."""
        if self._clock() - self._loaded_at < TRUSTED_FOR:
            return
        found: defaultdict[tuple[str, ErasureKind], dict[str, int]] = defaultdict(dict)
        for project_id, kind, hashed, before in client.query(_LOAD).result_rows:
            found[project_id, ErasureKind(kind)][hashed] = before
        self._before = dict(found)
        self._loaded_at = self._clock()

    def surviving(self, events: Sequence[Row]) -> Sequence[Row]:
        """Those that nobody had erased: costs nothing where there are no tombstones."""
        if not self._before:
            return events
        return [event for event in events if not self._is_erased(event)]

    def _is_erased(self, event: Erasable) -> bool:
        return any(
            name is not None
            and (before := self._before.get((event.project_id, kind))) is not None
            and event.received_at < before.get(name_hash(event.project_id, kind, name), 0)
            for kind, name in ((ErasureKind.USER, event.user_id), (ErasureKind.TRACE, event.trace_id))
        )
