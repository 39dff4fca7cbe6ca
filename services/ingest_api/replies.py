"""Replies as ASGI messages: built once where they never change, since building costs more than sending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

import msgspec

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"


class Reply(NamedTuple):
    """One whole answer. ``headers`` include content-type and content-length."""

    status: int
    headers: list[Header]
    body: bytes


def reply(status: int, body: bytes, content_type: bytes, headers: Iterable[Header] = ()) -> Reply:
    """Any answer. 204 has neither body nor type."""
    if status == 204:
        return Reply(status, list(headers), b"")
    fixed = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    return Reply(status, [*fixed, *headers], body)


def json_reply(status: int, value: Any, headers: Iterable[Header] = (), content_type: bytes = JSON) -> Reply:
    """A value as JSON."""
    return reply(status, msgspec.json.encode(value), content_type, headers)


async def send_reply(send: Send, answer: Reply) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body})


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
