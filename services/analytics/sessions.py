"""Sessions of people who logged in with a read key: a signed cookie that holds no secret.

It names the key by its fingerprint and says until when it holds. So every process of a deployment can check it without
asking anybody, and a session ends when its key is revoked. The key itself never goes into the cookie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import NamedTuple

COOKIE = "plaudit_session"

_PURPOSE = b"plaudit session cookie v1"


class Session(NamedTuple):
    """``key``: fingerprint of the read key. ``until``: seconds since 1970."""

    key: str
    until: int


class SessionSigner:
    """``secret``: the same in all processes of a deployment. ``clock``: seconds since 1970."""

    def __init__(self, secret: bytes, lifetime: float, clock: Callable[[], float]) -> None:
        self._secret = hmac.digest(hashlib.sha256(secret).digest(), _PURPOSE, "sha256")
        self._clock = clock
        self.lifetime = lifetime

    def issue(self, fingerprint: str) -> str:
        content = f"{fingerprint}.{int(self._clock() + self.lifetime)}"
        return f"{content}.{self._sign(content)}"

    def read(self, cookie: str) -> Session | None:
        """None for what was not issued here, or has ended."""
        content, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(content).encode()):
            return None
        fingerprint, _, until = content.rpartition(".")
        session = Session(fingerprint, int(until))
        return session if session.until > self._clock() else None

    def _sign(self, content: str) -> str:
        digest = hmac.digest(self._secret, content.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
