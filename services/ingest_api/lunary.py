"""Lunary's face for events: ``POST /v1/runs/ingest``, and ``POST /api/report`` of old SDKs."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from shared.envelope import RawEvent
from shared.errors import InvalidEventError
from shared.events import Source
from shared.formats.lunary import is_uuid
from shared.formats.lunary_batch import MISSING_EVENTS, BatchReader
from shared.formats.lunary_runs import RunHead
from shared.formats.nodejson import loads
from shared.keys import Key, KeyKind
from shared.telemetry import exception_fields

from .body import inflate
from .door import Door, blanked
from .learning import Learner
from .lunary_access import UnauthorizedError, answer, lunary_key, presented_token, rehomed, result, result_list
from .replies import TOO_LARGE, Receive, RefusedError, Scope, Send

log = structlog.get_logger()

_NIL_UUID = b"00000000-0000-0000-0000-000000000000"
_LARGE_BODY = 256 * 1024
"""Bytes from which a body is cut in a thread, so that other requests are served meanwhile."""

_MANY_EVENTS = 500
"""From so many on what they tell of their runs is gathered in a thread too."""


class LunaryFace:
    """``legacy``: the old route, which knows its project from the body and answers without a wrapper."""

    def __init__(self, door: Door, *, legacy: bool) -> None:
        self._door = door
        self._legacy = legacy
        self._reader = BatchReader(RunHead)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        await answer(self._door, scope, headers, send, self._results(headers, receive))

    async def _results(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        if self._legacy:
            body = await self._body(headers, receive)
            token = _legacy_token(body)
            key = await lunary_key(self._door, token)
            return await self._take(body, key, token)
        token = presented_token(headers)
        key = await lunary_key(self._door, token)
        self._door.rate.admit(key.project_ids[0])
        body = await self._body(headers, receive)
        return b'{"results":' + await self._take(body, key, token) + b"}"

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        limit = self._door.settings.ingest_body_limit_lunary
        body = await self._door.bodies.read(receive, limit, headers.get(b"content-length"))
        if encoding := headers.get(b"content-encoding"):
            return await asyncio.to_thread(inflate, body, encoding, limit)
        return body

    async def _take(self, body: bytes, key: Key, token: str) -> bytes:
        """Keeps what is feedback in ``body`` and gives the JSON of the results."""
        read = self._reader.read
        items, heads = read(body) if len(body) < _LARGE_BODY else await asyncio.to_thread(read, body)
        if len(items) > self._door.settings.ingest_events_limit:
            raise RefusedError(TOO_LARGE, "too many events in one request")
        own, kept_as_sent = key.project_ids[0], key.kind is KeyKind.LUNARY_PUBLIC
        events: list[tuple[str, RawEvent]] = []
        results: list[bytes] = []
        refused = 0
        for place, run_id, raw, app_id, error in items:
            refusal = error
            if raw is not None:
                if kept_as_sent and app_id is None:
                    events.append((own, RawEvent(place, raw)))
                else:
                    refusal = self._keep(place, raw, app_id, key, token, events)
            if refusal is not None:
                refused += 1
            results.append(result(run_id, refusal))
        if events:
            await self._door.take(Source.LUNARY, events)
        self._count(len(items), len(events), refused)
        if self._door.learner is not None and heads:
            await self._learn(self._door.learner, heads, key, token)
        return result_list(results)

    async def _learn(self, learner: Learner, heads: list[RunHead], key: Key, token: str) -> None:
        try:
            if len(heads) < _MANY_EVENTS:
                records = learner.read_runs(heads, token)
            else:
                records = await asyncio.to_thread(learner.read_runs, heads, token)
            if records:
                own = key.project_ids[0]
                learner.learn_runs(records, lambda app_id: rehomed(self._door, key, app_id) if app_id else own)
        except Exception as error:  # the events are in the log by now: whatever fails here, the answer is 200
            log.exception("not_learnt", **exception_fields(error))

    def _keep(
        self, place: int, raw: bytes, app_id: str | None, key: Key, token: str, events: list[tuple[str, RawEvent]]
    ) -> str | None:
        """Adds one event with its project to ``events``, or says what is wrong with it."""
        project_id = key.project_ids[0]
        if key.kind is KeyKind.LUNARY_PRIVATE:
            raw = blanked(raw, token, _NIL_UUID)
        if app_id is not None:
            home = rehomed(self._door, key, app_id)
            if home is None and not is_uuid(app_id):
                return f'invalid input syntax for type uuid: "{app_id}"'
            project_id = home or project_id
            named = self._door.known_key(app_id.lower())
            if named is not None and named.kind is not KeyKind.LUNARY_PUBLIC:
                raw = blanked(raw, app_id, _NIL_UUID if is_uuid(app_id) else None)
        events.append((project_id, RawEvent(place, raw)))
        return None

    def _count(self, all_events: int, accepted: int, refused: int) -> None:
        tally = self._door.tally.events
        tally["lunary", "accepted"] += accepted
        tally["lunary", "refused"] += refused
        tally["lunary", "skipped"] += all_events - accepted - refused


def _legacy_token(body: bytes) -> str:
    """The project id that old SDKs put into their first event. It is the project's public key.

    Raises InvalidEventError for what is no batch of events, UnauthorizedError where the first names no project.
    """
    value = loads(body) if body.strip() else None
    events: Any = value.get("events") if isinstance(value, dict) else None
    if not isinstance(events, list) or not events:
        raise InvalidEventError(MISSING_EVENTS)
    first = events[0]
    token = (first.get("projectId") or first.get("app")) if isinstance(first, dict) else None
    if not isinstance(token, str) or not is_uuid(token):
        raise UnauthorizedError("Incorrect project id format", status=402)
    return token
