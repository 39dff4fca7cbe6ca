"""Lunary's face for one run's feedback: ``GET`` and ``PATCH /v1/runs/{id}/feedback``."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from shared.envelope import RawEvent
from shared.errors import InvalidEventError, StoreUnavailableError
from shared.events import Source
from shared.formats import lunary
from shared.formats.lunary import is_uuid
from shared.formats.nodejson import compact, loads
from shared.keys import Key, KeyKind

from .body import inflate
from .door import Door
from .lunary_access import UnauthorizedError, UnprocessableError, answer, lunary_key, presented_token
from .reader import FeedbackReader
from .replies import Receive, Scope, Send

log = structlog.get_logger()

PATH = re.compile(r"/v1/runs/(?P<run_id>.+)/feedback", re.DOTALL)
ROUTE = "/v1/runs/{run_id}/feedback"
"""The same as people write it."""
_THUMBS = frozenset({"up", "down", None})


class LunaryFeedbackFace:
    """Runs need not be known: feedback is all that is kept of them, and a key sees its own project's only."""

    def __init__(self, door: Door, reader: FeedbackReader) -> None:
        self._door = door
        self._reader = reader

    async def get(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send, self._read)

    async def patch(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send, self._change)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        answer_body: Callable[[str, dict[bytes, bytes], Receive], Awaitable[bytes]],
    ) -> None:
        headers = dict(scope["headers"])
        value = answer_body(_run_id(scope["path"]), headers, receive)
        await answer(self._door, scope, headers, send, value)

    async def _read(self, run_id: str, headers: dict[bytes, bytes], _receive: Receive) -> bytes:
        token = presented_token(headers)
        key = await self._reading_key(token)
        self._door.rate.admit(key.project_ids[0])
        try:
            feedback = await self._reader.feedback(key.project_ids[0], run_id)
        except StoreUnavailableError as error:
            log.warning("feedback_not_read", reason=error.reason)
            raise self._door.unavailable("The feedback cannot be read at present. Try again.") from error
        return b"null" if feedback is None else compact(feedback).encode()

    async def _reading_key(self, token: str) -> Key:
        if is_uuid(token):
            return await lunary_key(self._door, token)
        key = await self._door.key(token)
        if key is None or key.kind is not KeyKind.READ:
            raise UnauthorizedError("Invalid access token")
        return key

    async def _change(self, run_id: str, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        token = presented_token(headers)
        key = await lunary_key(self._door, token)
        if key.kind is not KeyKind.LUNARY_PRIVATE:
            raise UnauthorizedError("This route requires a private API key")
        self._door.rate.admit(key.project_ids[0])
        limit = self._door.settings.ingest_body_limit_lunary
        body = await self._door.bodies.read(receive, limit, headers.get(b"content-length"))
        changes = _checked_changes(loads(inflate(body, headers.get(b"content-encoding", b""), limit)))
        if changes:
            event = {"event": "feedback", "runId": run_id, "feedback": changes}
            raw = msgspec.json.encode(event)
            lunary.read(raw)
            await self._door.take(Source.LUNARY, [(key.project_ids[0], RawEvent(0, raw))])
            self._door.tally.events["lunary", "accepted"] += 1
        return b"{}"


def _run_id(path: str) -> str:
    found = PATH.fullmatch(path)
    assert found is not None, "only such paths come here"
    run_id = found["run_id"]
    return run_id.lower() if is_uuid(run_id) else run_id


def _checked_changes(value: Any) -> dict[str, str | None]:
    """The thumb and the comment of a PATCH; other keys are dropped, as the vendor does.

    Raises InvalidEventError for what is no object, UnprocessableError for values of the wrong kind.
    """
    if not isinstance(value, dict):
        raise InvalidEventError("the body must be an object")
    changes = {name: value[name] for name in ("thumb", "comment") if name in value}
    thumb, comment = changes.get("thumb"), changes.get("comment")
    if not (thumb is None or (isinstance(thumb, str) and thumb in _THUMBS)):
        raise UnprocessableError('thumb must be "up", "down" or null')
    if not (comment is None or isinstance(comment, str)):
        raise UnprocessableError("comment must be a string or null")
    return changes
