"""What the worker tells of entries that are traced, and what it does where nothing is: nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from .entries import Entry
from .faults import Fault
from .prepare import Prepared, Unstorable


class BatchSpans(Protocol):
    """The traced entries of one batch on its way."""

    def inserting(self, prepared: Prepared, done: Set[bytes]) -> None:
        """The batch is about to be inserted; ``done`` are the work_ids that were inserted before."""

    def failed(self, fault: Fault, tries: int) -> None:
        """An attempt of the insert failed; how often for the same rows."""

    def inserted(self) -> None:
        """All of it that can be is in the table."""

    def set_aside(self, unstorable: Sequence[Unstorable], unplaced: Set[bytes]) -> None:
        """These are dead letters now, but for those of the entries ``unplaced``, which are left pending."""


class WorkerSpans(Protocol):
    """Spans of entries, from the moment they are in hand until they are settled."""

    def taken(self, entries: Iterable[Entry], deliveries: Mapping[bytes, int]) -> None:
        """Entries are in hand; all of them come into a batch. ``deliveries``: of those that were handed out before,
        how often by now.
        """

    def batch(self, entries: Sequence[Entry]) -> AbstractContextManager[BatchSpans]:
        """While inside, these entries are delivered; what is raised in it is their failure."""


class NoBatchSpans:
    def inserting(self, prepared: Prepared, done: Set[bytes]) -> None:
        pass

    def failed(self, fault: Fault, tries: int) -> None:
        pass

    def inserted(self) -> None:
        pass

    def set_aside(self, unstorable: Sequence[Unstorable], unplaced: Set[bytes]) -> None:
        pass


class NoSpans:
    """Of a worker that is not traced."""

    def taken(self, entries: Iterable[Entry], deliveries: Mapping[bytes, int]) -> None:
        pass

    def batch(self, entries: Sequence[Entry]) -> AbstractContextManager[BatchSpans]:  # noqa: ARG002 -- the protocol's
        return _NOTHING


_NOTHING: AbstractContextManager[BatchSpans] = nullcontext(NoBatchSpans())
