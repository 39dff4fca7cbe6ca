"""LangWatch's face: ``POST /api/track_event`` and ``POST /api/events/track``."""

from __future__ import annotations

import base64
import binascii
import re
from http import HTTPStatus
from typing import NamedTuple

import structlog

from shared.envelope import RawEvent
from shared.errors import InvalidEventError, MalformedJSONError
from shared.events import Source
from shared.formats import langwatch
from shared.keys import Key, KeyKind

from .door import Door, blanked
from .replies import (
    BROKEN_ENCODING,
    TOO_LARGE,
    TOO_MANY_REQUESTS,
    TOO_SLOW,
    UNAVAILABLE,
    UNKNOWN_ENCODING,
    ClientGoneError,
    Header,
    Receive,
    RefusedError,
    Reply,
    Scope,
    Send,
    json_reply,
    send_reply,
)

log = structlog.get_logger()

_HEADERS: list[Header] = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_CLOSE: Header = (b"connection", b"close")

_TRACKED = json_reply(200, {"message": "Event tracked"}, _HEADERS)
_NO_CREDENTIALS = json_reply(
    401,
    {
        "error": "Unauthorized",
        "message": "Authentication required. Use Authorization: Basic base64(projectId:token), "
        "Authorization: Bearer <token>, or X-Auth-Token header.",
    },
    _HEADERS,
)
_BAD_CREDENTIALS = json_reply(401, {"error": "Unauthorized", "message": "Invalid credentials"}, _HEADERS)
NOT_FOUND = json_reply(404, {"error": "Not Found"}, _HEADERS)
FAILED = json_reply(500, {"error": "Internal Server Error", "message": "Internal Server Error"}, _HEADERS)

_REFUSALS = {
    TOO_LARGE: (413, "Payload Too Large", "The body is larger than this server takes."),
    TOO_SLOW: (408, "Request Timeout", "The body did not arrive in time."),
    TOO_MANY_REQUESTS: (429, "Too Many Requests", "Too many requests for this project."),
    UNAVAILABLE: (503, "Service Unavailable", ""),
    UNKNOWN_ENCODING: (415, "Unsupported Media Type", "This Content-Encoding is not read here."),
    BROKEN_ENCODING: (400, "Bad Request", "The compressed body is broken."),
}

# The shapes of keys that need not imply a project; all others are legacy project keys, which do.
_SCOPED = re.compile(r"sk-lw-[A-Za-z0-9]{16}_[A-Za-z0-9]{48}|ik-lw-.*|pat-lw-.*", re.DOTALL)


class Credentials(NamedTuple):
    token: str
    project_id: str | None


def credentials(headers: dict[bytes, bytes]) -> Credentials | None:
    """What a request presents, by LangWatch's precedence: Basic, Bearer, X-Auth-Token. The first that is not empty
    is final.
    """
    project = headers.get(b"x-project-id")
    project_id = project.decode("latin-1").strip() or None if project else None
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    match scheme.lower():
        case b"basic":
            try:
                user, _, password = base64.b64decode(value.strip()).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                user = password = ""
            if user and password:
                return Credentials(password, user)
        case b"bearer":
            if token := value.decode("latin-1").strip():
                return Credentials(token, project_id)
    if token := headers.get(b"x-auth-token", b"").decode("latin-1").strip():
        return Credentials(token, project_id)
    return None


def project_of(key: Key, presented: Credentials) -> str | None:
    """The project that an event goes to; None if the key may not say so, or is no key for this vendor's routes."""
    if key.kind not in (KeyKind.LANGWATCH, KeyKind.READ):
        return None
    if key.sole_project is not None and not _SCOPED.fullmatch(presented.token):
        return key.sole_project
    if presented.project_id is None:
        return key.sole_project
    return presented.project_id if presented.project_id in key.project_ids else None


class Admitted(NamedTuple):
    """Who sends: the project that its events go to, and the secret that must not be kept."""

    project_id: str
    token: str


async def admit(door: Door, headers: dict[bytes, bytes]) -> Admitted | Reply:
    """Whether a request may send events; else the answer that says why not.

    Raises RefusedError over the project's rate, and while keys cannot be known.
    """
    sent = ("langwatch", headers.get(b"authorization"), headers.get(b"x-auth-token"), headers.get(b"x-project-id"))
    known: Admitted | None = door.admissions.find(sent)
    if known is not None:
        door.rate.admit(known.project_id)
        return known
    presented = credentials(headers)
    if presented is None:
        return _NO_CREDENTIALS
    key = await door.key(presented.token)
    project_id = project_of(key, presented) if key is not None else None
    if key is None or project_id is None:
        return _BAD_CREDENTIALS
    if key.kind is KeyKind.READ:
        return _denied(key, project_id)
    admitted = Admitted(project_id, presented.token)
    door.admissions.add(sent, admitted)
    door.rate.admit(project_id)
    return admitted


class LangWatchFace:
    """``malformed``: the body of the 400 for what is no JSON; the two paths differ in its field."""

    def __init__(self, door: Door, malformed: dict[str, str]) -> None:
        self._door = door
        self._body_limit = door.settings.ingest_body_limit_langwatch
        self._malformed = json_reply(400, malformed, _HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except RefusedError as refusal:
            answer = refusal_reply(refusal)
        except ClientGoneError:
            return
        self._door.tally.requests["langwatch", answer.status] += 1
        await send_reply(scope, send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        door, headers = self._door, dict(scope["headers"])
        admitted = await admit(door, headers)
        if isinstance(admitted, Reply):
            return admitted
        body = await door.bodies.read(receive, self._body_limit, headers.get(b"content-length"))
        try:
            langwatch.check(body)
        except MalformedJSONError:
            door.tally.events["langwatch", "refused"] += 1
            return self._malformed
        except InvalidEventError as error:
            door.tally.events["langwatch", "refused"] += 1
            return json_reply(400, {"error": error.message}, _HEADERS)
        event = RawEvent(0, blanked(body, admitted.token))
        await door.take(Source.LANGWATCH, [(admitted.project_id, event)])
        door.tally.events["langwatch", "accepted"] += 1
        return _TRACKED


def langwatch_error(status: int, message: str) -> Reply:
    """An error in the vendor's shape."""
    return json_reply(status, {"error": HTTPStatus(status).phrase, "message": message}, _HEADERS)


def refusal_reply(refusal: RefusedError) -> Reply:
    """What a refused request is answered."""
    status, error, message = _REFUSALS[refusal.code]
    headers = list(_HEADERS)
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after))
    if refusal.close:
        headers.append(_CLOSE)
    return json_reply(status, {"error": error, "message": refusal.message or message}, headers)


def _denied(key: Key, project_id: str) -> Reply:
    permission = "traces:create"
    return json_reply(
        403,
        {
            "error": "api_key_permission_denied",
            "message": f"API Key does not grant required permission: {permission}",
            "permission": permission,
            "apiKeyId": key.fingerprint,
            "userId": None,
            "projectId": project_id,
            "tips": ["Re-create the API key with the required scope, or ask an admin to raise your role"],
            "docsUrl": "https://docs.langwatch.ai/api-reference/api-keys/create-api-key",
            "fault": "customer",
        },
        _HEADERS,
    )
