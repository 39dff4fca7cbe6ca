"""What Lunary's run and chat events tell of their runs. Read beside feedback, never instead: what is odd is skipped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from shared.events import Source
from shared.formats.lunary import CHAT, is_uuid
from shared.formats.lunary_batch import Head
from shared.traces import TraceRecord, allowed, told, told_tags

_TELLING_EVENTS = ("start", CHAT)
_SILENT_TYPES = ("tool", "retriever", "embed", "log")
"""Steps inside a run: nobody judges them, and there are many."""

_PROMPT_NAMES = ("prompt_name", "promptName", "prompt")
_VERSION_NAMES = ("prompt_version", "promptVersion", "version")


class _Message(msgspec.Struct, gc=False):
    id: Any = None


class RunHead(Head, rename="camel", gc=False):
    """Of every event what it may tell of its run."""

    type: Any = None
    parent_run_id: Any = None
    name: Any = None
    user_id: Any = None
    app_id: Any = None
    tags: Any = None
    template_id: Any = None
    metadata: Any = None
    message: msgspec.Raw = msgspec.Raw(b"")


_read_message = msgspec.json.Decoder(_Message).decode
_read_any = msgspec.json.Decoder().decode


class RunRecord(NamedTuple):
    """A record, and the project or key that its event names, if it does."""

    record: TraceRecord
    app_id: str | None


def records(heads: Iterable[RunHead], token: str, metadata_names: Sequence[str]) -> list[RunRecord]:
    """What the events of one request tell. ``token``: the key it came with, which Python's SDK makes its run ids with.
    ``metadata_names``: the keys of metadata that may be kept.
    """
    found = []
    for head in heads:
        if head.event in _TELLING_EVENTS and head.type not in _SILENT_TYPES and _has_to_tell(head):
            app_id = head.app_id if isinstance(head.app_id, str) else None
            found += [RunRecord(record, app_id) for record in _of_event(head, token, metadata_names)]
    return found


def _has_to_tell(head: RunHead) -> bool:
    """False for the many starts that name nothing."""
    return head.event == CHAT or not (
        head.name is None
        and head.user_id is None
        and head.tags is None
        and head.metadata is None
        and head.template_id is None
    )


def _of_event(head: RunHead, token: str, metadata_names: Sequence[str]) -> Iterator[TraceRecord]:
    run_id = _run_id(head)
    if not run_id:
        return
    is_chat = head.event == CHAT
    is_model = head.type == "llm"
    metadata = head.metadata
    record = TraceRecord(
        source=Source.LUNARY,
        trace_id=run_id,
        alias_of=_alias(head, run_id, token) if is_chat else "",
        parent_id=_id(head.parent_run_id),
        name="" if is_model else told(head.name),
        model=told(head.name) if is_model else _first(metadata, ("model",)),
        prompt=_first(metadata, _PROMPT_NAMES),
        version=_first(metadata, _VERSION_NAMES) or told(head.template_id),
        user_id=told(head.user_id),
        thread_id=_id(head.parent_run_id) if is_chat else "",
        tags=told_tags(head.tags),
        metadata=allowed(metadata, metadata_names),
    )
    if record.tells or record.alias_of:
        yield record
    if is_model and record.parent_id and (record.model or record.version):
        # People judge the answer, which is the parent of the call that made it: what made it counts for both.
        yield TraceRecord(
            Source.LUNARY, record.parent_id, model=record.model, prompt=record.prompt, version=record.version
        )


def _run_id(head: RunHead) -> str:
    try:
        return _id(_read_any(head.runId))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _alias(head: RunHead, run_id: str, token: str) -> str:
    """The message's own id, where ``run_id`` is Python's hash of it: what only looks so makes no two traces one."""
    try:
        message_id = _read_message(head.message).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if not isinstance(message_id, str):
        return ""
    keys = (head.app_id, token) if isinstance(head.app_id, str) else (token,)
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
