"""Who asks, and for which project: a read key as bearer token, or the session cookie of the page."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from fastapi import Request

from shared.errors import StoreUnavailableError
from shared.keyring import Keyring
from shared.keys import Key, KeyKind

from .errors import ApiError
from .sessions import COOKIE, SessionSigner


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who may read. ``project`` is one of the key's own."""

    project: str
    projects: tuple[str, ...]


class Access:
    """``secure``: the cookie travels over https only, whatever this process itself is reached by."""

    def __init__(self, keyring: Keyring, signer: SessionSigner, *, secure: bool) -> None:
        self._keyring = keyring
        self._signer = signer
        self._secure = secure

    async def reader(self, request: Request) -> Reader:
        """Raises ApiError 401 where nobody is logged in, 503 where that cannot be told."""
        wanted = request.query_params.get("project")
        key = await self._presented(request)
        if key is None:
            raise ApiError(401, "unauthorized", "Send a read key: Authorization: Bearer <key>, or log in at /.")
        if wanted is not None and wanted not in key.project_ids:
            raise ApiError(
                403, "forbidden", f"This key is not for that project; it is for {', '.join(key.project_ids)}."
            )
        return Reader(wanted or key.project_ids[0], key.project_ids)

    async def log_in(self, token: str) -> Key:
        """Raises ApiError 401 for what is no read key."""
        key = await self._look_up(token)
        if key is None or key.kind is not KeyKind.READ:
            raise ApiError(401, "unauthorized", "This is not a read key: plaudit keys add --kind read makes one.")
        return key

    def cookie_of(self, key: Key) -> str:
        return self._signer.issue(key.fingerprint)

    @property
    def lifetime(self) -> int:
        """Seconds that a cookie holds."""
        return int(self._signer.lifetime)

    def is_secure(self, request: Request) -> bool:
        return self._secure or request.url.scheme == "https"

    async def _presented(self, request: Request) -> Key | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return await self.log_in(token.strip())
        cookie = request.cookies.get(COOKIE)
        if cookie is None or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return None
        session = self._signer.read(cookie)
        if session is None:
            return None
        if not self._keyring.ready:
            raise _keys_away()
        key = self._keyring.find_fingerprint(session.key)
        return key if key is not None and key.kind is KeyKind.READ else None

    async def _look_up(self, token: str) -> Key | None:
        try:
            return await self._keyring.look_up(token)
        except StoreUnavailableError:
            raise _keys_away() from None


def _keys_away() -> ApiError:
    return ApiError(503, "keys_unavailable", "The keys cannot be read at present; try again.", retry_after=2)


def session_secret(configured: str | None, clickhouse_password: str) -> bytes:
    """The configured one; else made from the password that all processes of a deployment share and nobody else has;
    else a new one, which ends with the process.
    """
    if configured:
        return configured.encode()
    if clickhouse_password:
        return hashlib.scrypt(clickhouse_password.encode(), salt=b"plaudit session", n=2**14, r=8, p=1)
    return secrets.token_bytes(32)
