"""What Lunary's run and chat events tell of their runs. Read beside feedback, never instead: what is odd is skipped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from shared.events import Source
from shared.formats.lunary import is_uuid
from shared.traces import TraceRecord, allowed, told, told_tags

_MARKS = (b'"chat"', b'"start"')
"""In any request that has something to tell, as both SDKs write it."""

_SILENT_TYPES = ("tool", "retriever", "embed", "log")
"""Steps inside a run: nobody judges them, and there are many."""

_PROMPT_NAMES = ("prompt_name", "promptName", "prompt")
_VERSION_NAMES = ("prompt_version", "promptVersion", "version")


class _Message(msgspec.Struct, gc=False):
    id: Any = None


class _Event(msgspec.Struct, rename="camel", gc=False):
    event: Any = None
    type: Any = None
    run_id: Any = None
    parent_run_id: Any = None
    name: Any = None
    user_id: Any = None
    app_id: Any = None
    tags: Any = None
    template_id: Any = None
    metadata: Any = None
    message: msgspec.Raw = msgspec.Raw(b"")


class _Batch(msgspec.Struct, gc=False):
    events: list[_Event]


_read = msgspec.json.Decoder(_Batch).decode
_read_message = msgspec.json.Decoder(_Message).decode


class RunRecord(NamedTuple):
    """A record, and the project or key that its event names, if it does."""

    record: TraceRecord
    app_id: str | None


def records(body: bytes, token: str, metadata_names: Sequence[str]) -> list[RunRecord]:
    """What the events of one request tell. ``token``: the key it came with, which Python's SDK makes its run ids with.
    ``metadata_names``: the keys of metadata that may be kept.
    """
    if not any(mark in body for mark in _MARKS):
        return []
    try:
        batch = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    found = []
    for event in batch.events:
        app_id = event.app_id if isinstance(event.app_id, str) else None
        found += [RunRecord(record, app_id) for record in _of_event(event, token, metadata_names)]
    return found


def _of_event(event: _Event, token: str, metadata_names: Sequence[str]) -> Iterator[TraceRecord]:
    run_id = _id(event.run_id)
    if not run_id or event.event not in ("start", "chat") or event.type in _SILENT_TYPES:
        return
    is_chat = event.event == "chat"
    is_model = event.type == "llm"
    metadata = event.metadata
    record = TraceRecord(
        source=Source.LUNARY,
        trace_id=run_id,
        alias_of=_alias(event, run_id, token) if is_chat else "",
        parent_id=_id(event.parent_run_id),
        name="" if is_model else told(event.name),
        model=told(event.name) if is_model else _first(metadata, ("model",)),
        prompt=_first(metadata, _PROMPT_NAMES),
        version=_first(metadata, _VERSION_NAMES) or told(event.template_id),
        user_id=told(event.user_id),
        thread_id=_id(event.parent_run_id) if is_chat else "",
        tags=told_tags(event.tags),
        metadata=allowed(metadata, metadata_names),
    )
    if record.tells or record.alias_of:
        yield record
    if is_model and record.parent_id and (record.model or record.version):
        # People judge the answer, which is the parent of the call that made it: what made it counts for both.
        yield TraceRecord(
            Source.LUNARY, record.parent_id, model=record.model, prompt=record.prompt, version=record.version
        )


def _alias(event: _Event, run_id: str, token: str) -> str:
    """The message's own id, where ``run_id`` is Python's hash of it: what only looks so makes no two traces one."""
    try:
        message_id = _read_message(event.message).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if not isinstance(message_id, str):
        return ""
    keys = (event.app_id, token) if isinstance(event.app_id, str) else (token,)
    return _id(message_id) if any(run_id == python_run_id(message_id, key) for key in keys) else ""


def python_run_id(message_id: str, key: str) -> str:
    """The run id that Lunary's Python SDK makes of a message's id; another one with every key."""
    digits = hashlib.sha256((message_id + key).encode("utf-8", "replace")).hexdigest()[:32]
    return str(UUID(digits))


def _id(value: Any) -> str:
    """An id as feedback names it."""
    if not isinstance(value, str):
        return ""
    return value.lower() if is_uuid(value) else value[:200]


def _first(metadata: Any, names: Sequence[str]) -> str:
    if not isinstance(metadata, dict):
        return ""
    return next((text for name in names if (text := told(metadata.get(name)))), "")
