"""The door's spans, put together."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable

from services.ingest_api.publisher import Appender
from shared.tracing.tracing import Tracing

from .appends import TracedAppender
from .current import note
from .requests import Face, TracedFace
from .sampling import Allowance, Sampler


class DoorSpans:
    """``destination``: the name of the log. ``clock``: monotonic seconds."""

    def __init__(
        self, tracing: Tracing, destination: str, *, clock: Callable[[], float], random: random_module.Random
    ) -> None:
        self._tracer = tracing.tracer
        self._destination = destination
        forced = Allowance(tracing.forced_rate, clock)
        self._sample = Sampler(parent_based=tracing.parent_based, share=tracing.share, forced=forced, random=random)
        self.note = note

    def face(self, face: Face, route: str) -> Face:
        return TracedFace(face, route, self._tracer, self._sample)

    def appender(self, appender: Appender) -> Appender:
        return TracedAppender(appender, self._tracer, self._destination)
