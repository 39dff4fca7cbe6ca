"""The span of the request at hand, where it is traced. The library's own way to it takes six calls, which every request
would pay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.trace import Span

from shared.errors import StoreUnavailableError
from shared.tracing.tracing import failed

span_at_hand: ContextVar[Span | None] = ContextVar("span_at_hand", default=None)


@contextmanager
def at_hand(span: Span) -> Iterator[None]:
    """Inside, the span at hand is this one; it ends with the block, as failed where that raises."""
    before = span_at_hand.set(span)
    try:
        yield
    except BaseException as error:
        # By its name alone: what it says may quote the request. Why a store is away does not.
        failed(span, type(error).__qualname__, str(error) if isinstance(error, StoreUnavailableError) else None)
        raise
    finally:
        span_at_hand.reset(before)
        span.end()


def note(event: str) -> None:
    """Adds an event to it, if there is one."""
    span = span_at_hand.get()
    if span is not None:
        span.add_event(event)
