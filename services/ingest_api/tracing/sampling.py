"""Which requests are traced. Decided here, once; workers go by what travels in the envelope."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Sequence

from opentelemetry.context import Context

from services.ingest_api.replies import Header
from shared.tracing.context import parent, read

_ROOT = Context()


class Allowance:
    """So many a second, and a second's worth at once. ``clock``: monotonic seconds."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._left = self._most if rate else 0.0
        self._clock = clock
        self._as_of = clock()

    def take(self) -> bool:
        """Whether one more is allowed; it is taken then."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._as_of) * self._rate)
        self._as_of = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Sampler:
    """A door's senders are strangers: what they say goes, but cannot make us trace more than we are willing to.

    Without a ``traceparent``, or with a malformed one: ``share`` of the requests. With one, under a ``parent_based``
    sampler: not traced if it says so; traced if it says so, as long as ``forced`` allows it. In all other cases
    ``share`` again, by our own dice: an id that a ratio would pick is easily chosen. Whatever is decided, the trace is
    the sender's.
    """

    def __init__(self, *, parent_based: bool, share: float, forced: Allowance, random: random_module.Random) -> None:
        self._parent_based = parent_based
        self._share = share
        self._forced = forced
        self._random = random

    def __call__(self, headers: Sequence[Header]) -> Context | None:
        """Where the span of a request begins; None if it is not traced."""
        # A loop and no more than that: every request pays for it.
        for name, _ in headers:
            if name == b"traceparent":
                return self._follow([value for name, value in headers if name == b"traceparent"])
        return _ROOT if self._random.random() < self._share else None

    def _follow(self, sent: Sequence[bytes]) -> Context | None:
        # The standard has one header; of several nobody knows which is right.
        begun = read(sent[0]) if len(sent) == 1 else None
        if begun is not None and self._parent_based:
            if not parent(begun).trace_flags.sampled:
                return None
            if self._forced.take():
                return begun
        if self._random.random() >= self._share:
            return None
        return _ROOT if begun is None else begun
