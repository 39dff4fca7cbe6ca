"""Lunary's rules of access: keys, projects, and what other origins may do."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

import msgspec

from shared.errors import InvalidEventError, MalformedJSONError
from shared.formats.lunary import is_uuid
from shared.keys import Key, KeyKind

from .door import Door
from .replies import (
    BROKEN_ENCODING,
    TOO_LARGE,
    TOO_MANY_REQUESTS,
    TOO_SLOW,
    UNAVAILABLE,
    UNKNOWN_ENCODING,
    ClientGoneError,
    Header,
    RefusedError,
    Reply,
    Scope,
    Send,
    json_reply,
    reply,
    send_reply,
)

JSON = b"application/json; charset=utf-8"
_VARY: Header = (b"vary", b"Origin")
_CLOSE: Header = (b"connection", b"close")
_PREFLIGHT: list[Header] = [
    (b"access-control-allow-methods", b"GET,POST,PATCH,DELETE,OPTIONS,PUT"),
    (b"access-control-allow-headers", b"Content-Type,Authorization,Accept"),
]

_REFUSALS = {
    TOO_LARGE: (413, "request entity too large"),
    TOO_SLOW: (408, "request body did not arrive in time"),
    UNKNOWN_ENCODING: (415, "unsupported content encoding"),
    BROKEN_ENCODING: (400, "the compressed body is broken"),
    UNAVAILABLE: (503, "Service Unavailable"),
}
_SLOW_DOWN = b"Sometimes You Just Have to Slow Down."

LUNARY_KEYS = frozenset({KeyKind.LUNARY_PUBLIC, KeyKind.LUNARY_PRIVATE})


class UnauthorizedError(Exception):
    """No key, or one that does not fit. ``status`` and ``message`` as the vendor answers them."""

    def __init__(self, message: str, status: int = 401) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class UnprocessableError(Exception):
    """A change whose values the vendor's strict schema refuses."""


def cors_headers(headers: dict[bytes, bytes]) -> list[Header]:
    """On every answer, errors included, else a page on another origin could not even read the error."""
    origin = headers.get(b"origin")
    if origin is None:
        return [_VARY]
    return [_VARY, (b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true")]


def preflight(headers: dict[bytes, bytes]) -> Reply:
    """The answer to OPTIONS: needs no key and is never limited."""
    if b"origin" not in headers or b"access-control-request-method" not in headers:
        return message_reply(404, "Not Found", cors_headers(headers))
    return reply(204, b"", b"", [*cors_headers(headers), *_PREFLIGHT])


def message_reply(status: int, message: str, headers: Iterable[Header]) -> Reply:
    return json_reply(status, {"message": message}, headers, JSON)


def value_reply(body: bytes, headers: Iterable[Header]) -> Reply:
    return reply(200, body, JSON, headers)


def refusal_reply(refusal: RefusedError, headers: list[Header]) -> Reply:
    if refusal.retry_after is not None:
        headers = [*headers, (b"retry-after", b"%d" % refusal.retry_after)]
    if refusal.code == TOO_MANY_REQUESTS:
        return reply(429, _SLOW_DOWN, b"text/plain; charset=utf-8", headers)
    status, message = _REFUSALS[refusal.code]
    if refusal.close:
        headers = [*headers, _CLOSE]
    return message_reply(status, refusal.message or message, headers)


async def answer(door: Door, scope: Scope, headers: dict[bytes, bytes], send: Send, value: Awaitable[bytes]) -> None:
    """Sends the JSON that ``value`` gives, or in the vendor's words why there is none; nothing to one that is gone."""
    cors = cors_headers(headers)
    try:
        told = value_reply(await value, cors)
    except RefusedError as refusal:
        told = refusal_reply(refusal, cors)
    except UnauthorizedError as refusal:
        told = message_reply(refusal.status, refusal.message, cors)
    except UnprocessableError as refusal:
        told = json_reply(422, {"error": "Error", "message": str(refusal)}, cors, JSON)
    except InvalidEventError as refusal:
        told = message_reply(400, refusal.message, cors)
    except MalformedJSONError as refusal:
        told = message_reply(400, refusal.reason, cors)
    except ClientGoneError:
        return
    door.tally.requests["lunary", told.status] += 1
    await send_reply(scope, send, told)


def presented_token(headers: dict[bytes, bytes]) -> str:
    """The second word of Authorization, else X-API-Key. Raises UnauthorizedError where there is none."""
    words = headers.get(b"authorization", b"").split(b" ")
    if len(words) > 1 and words[1]:
        return words[1].decode("latin-1")
    api_key = headers.get(b"x-api-key", b"").decode("latin-1").strip()
    if not api_key:
        raise UnauthorizedError("Incorrect project id format")
    if not is_uuid(api_key):
        raise UnauthorizedError("Not Found", status=404)
    return api_key


async def lunary_key(door: Door, token: str) -> Key:
    """The public or private key of a token. Raises UnauthorizedError, in the vendor's words, if it is none."""
    if not is_uuid(token):
        raise UnauthorizedError("Invalid access token")
    key = await door.key(token.lower())
    if key is None or key.kind not in LUNARY_KEYS:
        raise UnauthorizedError("Invalid API key")
    return key


def rehomed(door: Door, key: Key, app_id: str) -> str | None:
    """The project that an event's ``appId`` names, if the presented key owns it: by its id, or by a key of it."""
    if app_id in key.project_ids:
        return app_id
    named = door.known_key(app_id.lower())
    if named is None:
        return None
    return next((project_id for project_id in named.project_ids if project_id in key.project_ids), None)


def result_list(results: Iterable[bytes]) -> bytes:
    """What ``result`` gave for each event, as one JSON array."""
    return b"[" + b",".join(results) + b"]"


def result(run_id: bytes | None, error: str | None) -> bytes:
    """The JSON of what became of one event, from its run id as sent (its JSON) and what was wrong with it."""
    if error is None:
        return b'{"id":%b,"success":true}' % run_id if run_id is not None else b'{"success":true}'
    head = b'{"id":' + run_id + b"," if run_id is not None else b"{"
    return head + b'"success":false,"error":' + msgspec.json.encode(error) + b"}"
