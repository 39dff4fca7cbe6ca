"""OTLP traces, protobuf and JSON, read into the same spans."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.errors import InvalidEventError, MalformedJSONError

_TRACE_ID_DIGITS = 32
_SPAN_ID_DIGITS = 16

Attributes = Mapping[str, str | int | float | bool]


class SpanEvent(NamedTuple):
    """One event of a span. nanos: since 1970; 0 where it tells no time."""

    name: str
    nanos: int
    attributes: Attributes


class Span(NamedTuple):
    """One span, whichever encoding it came in. Ids in lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    attributes: Attributes
    events: list[SpanEvent]


class _JsonAttribute(msgspec.Struct, rename="camel", gc=False):
    key: str = ""
    value: Any = None


class _JsonEvent(msgspec.Struct, rename="camel", gc=False):
    name: str = ""
    time_unix_nano: Any = 0
    attributes: list[_JsonAttribute] | None = None


class _JsonSpan(msgspec.Struct, rename="camel", gc=False):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    name: str = ""
    attributes: list[_JsonAttribute] | None = None
    events: list[_JsonEvent] | None = None


class _JsonScope(msgspec.Struct, rename="camel", gc=False):
    spans: list[_JsonSpan] | None = None


class _JsonResource(msgspec.Struct, rename="camel", gc=False):
    scope_spans: list[_JsonScope] | None = None


class _JsonRequest(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_JsonResource] | None = None


_read_json = msgspec.json.Decoder(_JsonRequest).decode


def read_protobuf(body: bytes) -> list[Span]:
    """Raises InvalidEventError for what is no ExportTraceServiceRequest."""
    return [_span_of_message(span) for span in _message_spans(parse_protobuf(body))]


def parse_protobuf(body: bytes) -> ExportTraceServiceRequest:
    """Raises InvalidEventError."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise InvalidEventError("Failed to parse traces") from error
    return request


def read_json(body: bytes) -> list[Span]:
    """Raises MalformedJSONError for what is no JSON, InvalidEventError for JSON of another shape."""
    try:
        request = _read_json(body)
    except msgspec.ValidationError as error:
        raise InvalidEventError("Failed to parse traces") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJSONError("Failed to parse traces") from error
    return [
        _span_of_json(span)
        for resource in request.resource_spans or ()
        for scope in resource.scope_spans or ()
        for span in scope.spans or ()
    ]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _message_spans(request: ExportTraceServiceRequest) -> Iterator[Any]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def _span_of_message(span: Any) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        _message_attributes(span.attributes),
        [SpanEvent(event.name, event.time_unix_nano, _message_attributes(event.attributes)) for event in span.events],
    )


def _message_attributes(attributes: Iterable[Any]) -> Attributes:
    """Scalars only: nobody asks for lists and nested ones."""
    found: dict[str, str | int | float | bool] = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        if kind in ("string_value", "int_value", "double_value", "bool_value"):
            found[attribute.key] = getattr(attribute.value, kind)
    return found


def _span_of_json(span: _JsonSpan) -> Span:
    return Span(
        _id_of_json(span.trace_id, _TRACE_ID_DIGITS),
        _id_of_json(span.span_id, _SPAN_ID_DIGITS),
        _id_of_json(span.parent_span_id or "", _SPAN_ID_DIGITS),
        span.name,
        _json_attributes(span.attributes),
        [
            SpanEvent(event.name, _integer(event.time_unix_nano) or 0, _json_attributes(event.attributes))
            for event in span.events or ()
        ],
    )


def _id_of_json(text: str, digits: int) -> str:
    """OTLP's JSON has ids in hexadecimal; exporters built on protobuf's own JSON mapping write base64."""
    if len(text) != digits and text:
        try:
            packed = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return text
        if len(packed) * 2 == digits:
            return packed.hex()
    return text.lower()


def _json_attributes(attributes: Iterable[_JsonAttribute] | None) -> Attributes:
    found: dict[str, str | int | float | bool] = {}
    for attribute in attributes or ():
        value = attribute.value if isinstance(attribute.value, dict) else {}
        if isinstance(text := value.get("stringValue"), str):
            found[attribute.key] = text
        elif isinstance(number := value.get("doubleValue"), int | float):
            found[attribute.key] = number
        elif isinstance(flag := value.get("boolValue"), bool):
            found[attribute.key] = flag
        elif (whole := _integer(value.get("intValue"))) is not None:
            found[attribute.key] = whole
    return found


def _integer(value: Any) -> int | None:
    """A 64-bit integer in any of the forms in which exporters write it: number, decimal text, two halves."""
    if isinstance(value, dict):
        low, high = value.get("low"), value.get("high")
        if isinstance(low, int) and isinstance(high, int):
            return (high << 32) | (low & 0xFFFFFFFF)
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def is_json(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request says that its traces are JSON; they are protobuf otherwise, as the protocol's default is."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == b"application/json"


def protobuf_without_events(body: bytes, name: str) -> bytes:
    """The same traces without the span events called ``name``. Raises InvalidEventError."""
    request = parse_protobuf(body)
    for span in _message_spans(request):
        kept = [event for event in span.events if event.name != name]
        if len(kept) != len(span.events):
            del span.events[:]
            span.events.extend(kept)
    packed: bytes = request.SerializeToString()
    return packed


def json_without_events(body: bytes, name: str) -> bytes:
    """The same traces without the span events called ``name``. Raises as ``read_json`` does."""
    read_json(body)
    request = msgspec.json.decode(body)
    for resource in request.get("resourceSpans") or ():
        for scope in resource.get("scopeSpans") or ():
            for span in scope.get("spans") or ():
                if events := span.get("events"):
                    span["events"] = [event for event in events if event.get("name") != name]
    return msgspec.json.encode(request)
