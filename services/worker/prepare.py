"""From stream entries to rows: decode, normalize, and of one identity in the batch keep what matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from shared.envelope import Envelope, RawEvent
from shared.errors import EnvelopeError, PlauditError
from shared.events import FeedbackEvent, Receipt, TimeStatus
from shared.formats import NORMALIZERS, Normalizer
from shared.traces import TRACES, unpack

from .entries import Entry
from .traces import LearntTrace


@dataclass(frozen=True, slots=True)
class Unstorable:
    """What can never be stored: an event of an entry's envelope, or (``event`` None) an entry that is no envelope."""

    entry: Entry
    event: RawEvent | None
    reason: str


@dataclass(slots=True)
class Prepared:
    """``rows`` to insert, the first ``identities`` of them of one identity each, the others second rows of some;
    ``outcomes`` counts events by (source, outcome) for what is not a row.
    """

    rows: list[FeedbackEvent]
    unstorable: list[Unstorable]
    identities: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    traces: list[LearntTrace] = field(default_factory=list)


def prepare(entries: Iterable[Entry], done: Set[bytes]) -> Prepared:  # noqa: C901 -- the hot path stays in one piece
    """Normalizes the events of all entries whose work is not ``done``.

    One bad event stops nothing: it is set aside, the rest of its envelope goes on.
    """
    rows = _Standing()
    source = ""
    normalize: Normalizer | None = None
    prepared = Prepared([], [])
    for entry in entries:
        request = entry.envelope
        if request is None:
            prepared.unstorable.append(Unstorable(entry, None, f"envelope: {entry.problem}"))
            continue
        if request.work_id in done and not request.replayed:
            prepared.outcomes[request.source, "redelivered"] += len(request.events)
            continue
        if request.source != source:
            source, normalize = request.source, NORMALIZERS.get(request.source)
        if normalize is None:
            _take_other(entry, request, prepared)
            continue
        receipt = Receipt(
            project_id=request.project_id,
            source=request.source,
            request_id=request.request_id,
            received_at=request.received_at,
            entry_id=entry.entry_id.decode(),
            replayed=request.replayed,
        )
        for raw_event in request.events:
            try:
                event = normalize(receipt, raw_event.index, raw_event.raw)
            except PlauditError as error:
                prepared.unstorable.append(Unstorable(entry, raw_event, str(error)))
                continue
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 -- a fault of ours, but it must not void the batch
                reason = f"cannot be normalized: {type(error).__name__}: {error}"
                prepared.unstorable.append(Unstorable(entry, raw_event, reason))
                continue
            if event is None:
                prepared.outcomes[request.source, "skipped"] += 1
            else:
                rows.add(event, prepared.outcomes)
    prepared.rows = rows.events()
    prepared.identities = rows.identities
    return prepared


def _take_other(entry: Entry, request: Envelope, prepared: Prepared) -> None:
    """What is no feedback: records of traces, or a format of another release."""
    for piece in request.events:
        if request.source != TRACES:
            prepared.unstorable.append(Unstorable(entry, piece, f"no format is called {request.source!r}"))
            continue
        try:
            records = unpack(piece)
        except EnvelopeError as error:
            prepared.unstorable.append(Unstorable(entry, piece, error.reason))
            continue
        prepared.traces += [LearntTrace(request.project_id, record, request.received_at) for record in records]


class _Standing:
    """Of several deliveries of one identity in a batch: the one received last, which stands, and the one received
    first, which holds a client clock that runs ahead to when we first heard of it. What lies between says nothing.
    """

    def __init__(self) -> None:
        self._latest: dict[int, FeedbackEvent] = {}
        self._earliest: dict[int, FeedbackEvent] = {}

    def add(self, event: FeedbackEvent, outcomes: Counter[tuple[str, str]]) -> None:
        identity = event.dedupe_id
        latest = self._latest.setdefault(identity, event)
        if latest is event:
            return
        if latest.version == event.version:
            outcomes[event.source, "redelivered"] += 1
            return
        outcomes[event.source, "repeated" if _content(latest) == _content(event) else "corrected"] += 1
        older, newer = (latest, event) if latest.version < event.version else (event, latest)
        self._latest[identity] = newer
        if self._earliest.setdefault(identity, older).version > older.version:
            self._earliest[identity] = older

    @property
    def identities(self) -> int:
        return len(self._latest)

    def events(self) -> list[FeedbackEvent]:
        """The standing event of each identity, then the first receipts."""
        return [*self._latest.values(), *self._earliest.values()]


def _content(event: FeedbackEvent) -> tuple[object, ...]:
    """What an event says, apart from how and when it came."""
    told_time = event.timestamp if event.time_status != TimeStatus.NONE else None
    return (event.vote, event.comment, event.metrics, event.details, told_time, event.user_id, event.thread_id)
