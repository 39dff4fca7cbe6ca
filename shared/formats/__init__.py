"""The wire formats of the vendors, and their translation to the canonical event."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.events import FeedbackEvent, Receipt, Source
from shared.formats import langwatch, lunary

Normalizer = Callable[[Receipt, int, bytes], FeedbackEvent | None]
"""From what all events of an envelope share, an event's place in its request and its raw JSON to the event.

None: it is not feedback. Raises InvalidEventError or MalformedJSONError for what cannot be normalized.
"""

NORMALIZERS: Mapping[str, Normalizer] = {
    Source.LANGWATCH: langwatch.normalize,
    Source.LUNARY: lunary.normalize,
}
