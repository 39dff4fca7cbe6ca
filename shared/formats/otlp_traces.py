"""What spans tell of their trace: model, prompt, version, user. No text of prompts or answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shared.events import Source
from shared.formats.otlp import Attributes, Span
from shared.formats.otlp_events import THREAD_KEYS, USER_KEYS
from shared.traces import TraceRecord, allowed, told, told_tags

_MODEL = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "llm.request.model")
_PROMPT = ("langwatch.prompt.handle", "langwatch.prompt.id")
_VERSION = ("langwatch.prompt.version.number", "langwatch.prompt.version.id")
_METADATA = "metadata"
"""Where the Python SDK puts what the application tells of the trace, as JSON."""

_read_json = msgspec.json.Decoder(dict[str, Any]).decode


def records(spans: Iterable[Span], metadata_names: Sequence[str]) -> list[TraceRecord]:
    """One record a trace; of several spans that tell the same thing, the first that is not empty counts."""
    by_trace: dict[str, list[Span]] = {}
    for span in spans:
        if span.trace_id:
            by_trace.setdefault(span.trace_id, []).append(span)
    found = [_record(trace_id, its_spans, metadata_names) for trace_id, its_spans in by_trace.items()]
    return [record for record in found if record.tells]


def _record(trace_id: str, spans: Sequence[Span], metadata_names: Sequence[str]) -> TraceRecord:
    attributes = [span.attributes for span in spans]
    metadata: dict[str, Any] = {}
    for one in attributes:
        metadata |= _metadata(one)
    return TraceRecord(
        source=Source.LANGWATCH,
        trace_id=trace_id,
        name=next((told(span.name) for span in spans if not span.parent_id), ""),
        model=_first(attributes, _MODEL),
        prompt=_first(attributes, _PROMPT),
        version=_first(attributes, _VERSION) or told(metadata.get("version")),
        user_id=_first(attributes, USER_KEYS) or told(metadata.get("user_id")),
        thread_id=_first(attributes, THREAD_KEYS) or told(metadata.get("thread_id")),
        tags=told_tags(metadata.get("labels")),
        metadata=allowed(metadata, metadata_names),
    )


def _first(attributes: Iterable[Attributes], names: Sequence[str]) -> str:
    return next((text for one in attributes for name in names if (text := told(one.get(name)))), "")


def _metadata(attributes: Attributes) -> dict[str, Any]:
    written = attributes.get(_METADATA)
    if not isinstance(written, str):
        return {}
    try:
        return _read_json(written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
