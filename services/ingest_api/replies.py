"""Replies as ASGI messages: built once where they never change, since building costs more than sending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_NONE: Mapping[str, Any] = {}


class Reply(NamedTuple):
    """One whole answer. ``headers`` include content-type and content-length; ``head`` is status and headers as HTTP/1.1
    writes them, without the empty line at their end. ``closes``: the headers say that the connection ends with it.
    """

    status: int
    headers: list[Header]
    body: bytes
    head: bytes
    closes: bool


AT_ONCE = "plaudit.reply_at_once"
"""The extension of ASGI by which the door's server sends a whole reply with one call and one write: as two messages,
each checked and written apart, the answer costs more than what it answers. A ``ReplyAtOnce``; other servers lack it.
"""

STATUS = "plaudit.status"
"""Where in the scope the status of its answer is, for whoever stands around a face."""

ReplyAtOnce = Callable[[Scope, Reply], bool]
"""False: not now; the reply goes the ordinary way."""


def reply(status: int, body: bytes, content_type: bytes, headers: Iterable[Header] = ()) -> Reply:
    """Any answer. 204 has neither body nor type."""
    all_headers = list(headers)
    if status == 204:
        body = b""
    else:
        all_headers[:0] = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    lines = [b"%b: %b\r\n" % header for header in all_headers]
    closes = any(name == b"connection" for name, _ in all_headers)
    return Reply(status, all_headers, body, _STATUS_LINES[status] + b"".join(lines), closes)


def json_reply(status: int, value: Any, headers: Iterable[Header] = (), content_type: bytes = JSON) -> Reply:
    """A value as JSON."""
    return reply(status, msgspec.json.encode(value), content_type, headers)


async def send_reply(scope: Scope, send: Send, answer: Reply) -> None:
    """Through the server's extension, where it has it. Leaves the status in the scope."""
    scope[STATUS] = answer.status
    at_once: ReplyAtOnce | None = scope.get("extensions", _NONE).get(AT_ONCE)
    if at_once is not None and at_once(scope, answer):
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


def status_of(scope: Scope) -> int:
    """What the request was answered by ``send_reply``; 0 if it was not."""
    status: int = scope.get(STATUS, 0)
    return status


class RefusedError(Exception):
    """A request that is answered with an error, whichever vendor words it.

    code: what is wrong, from the vocabulary below. message: in words, where the vendor has no fixed ones.
    retry_after: seconds, for the refusals that pass. close: the rest of the request is not waited for.
    """

    def __init__(self, code: str, message: str = "", *, retry_after: int | None = None, close: bool = False) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.close = close


TOO_LARGE = "too_large"
TOO_SLOW = "too_slow"
UNKNOWN_ENCODING = "unknown_encoding"
BROKEN_ENCODING = "broken_encoding"
TOO_MANY_REQUESTS = "too_many_requests"
UNAVAILABLE = "unavailable"


class ClientGoneError(Exception):
    """The client closed the connection before its request was whole: nobody is left to answer."""
