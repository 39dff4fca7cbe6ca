"""Around a face of the door: what it answers with success goes on to the vendor, after the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import structlog

from services.ingest_api.body import Arrived
from services.ingest_api.replies import Message, Receive, RefusedError, Scope, Send, status_of
from shared.errors import PlauditError

from .sender import Sender
from .upstream import request_headers, target

log = structlog.get_logger()

Face = Callable[[Scope, Receive, Send], Awaitable[None]]


class Kept(NamedTuple):
    """What is left of a request without its feedback. plain: the body is no longer encoded, whatever it was."""

    body: bytes
    plain: bool


CutFeedback = Callable[[bytes, Mapping[bytes, bytes]], Kept | None]
"""From a body and its headers to what may go on; None: nothing. Raises PlauditError or RefusedError
where it cannot tell.
"""


class RelayedFace:
    """``cut``: takes the feedback out, where it must not go on; None: the request goes on as it came."""

    def __init__(self, face: Face, sender: Sender, cut: CutFeedback | None, *, forwarded_for: bool) -> None:
        self._face = face
        self._sender = sender
        self._cut = cut
        self._forwarded_for = forwarded_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(receive, Arrived):
            await self._face(scope, receive, send)
            self._answered(scope, receive.body)
            return
        received: list[bytes] = []

        async def receive_and_keep() -> Message:
            message = await receive()
            if body := message.get("body"):
                received.append(body)
            return message

        await self._face(scope, receive_and_keep, send)
        self._answered(scope, b"".join(received))

    def _answered(self, scope: Scope, body: bytes) -> None:
        if not 200 <= status_of(scope) < 300:
            return
        headers = request_headers(scope, forwarded_for=self._forwarded_for)
        if self._cut is not None:
            try:
                kept = self._cut(body, dict(headers))
            except (PlauditError, RefusedError) as error:
                log.warning("relay_unreadable", source=self._sender.source, error=type(error).__name__)
                self._sender.unreadable()
                return
            if kept is None:
                return
            body = kept.body
            if kept.plain:
                headers = [header for header in headers if header[0] != b"content-encoding"]
        self._sender.offer(scope["method"], target(scope), headers, body)
