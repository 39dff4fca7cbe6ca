from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.analytics.access import session_secret
from services.analytics.sessions import SessionSigner

HOUR = 3600.0


def signer(now: float = 1000.0, secret: bytes = b"secret") -> SessionSigner:
    return SessionSigner(secret, HOUR, lambda: now)


def test_a_cookie_names_its_key_until_it_ends() -> None:
    cookie = signer().issue("abcdef012345")
    session = signer(now=1000 + HOUR - 1).read(cookie)
    assert session is not None
    assert session.key == "abcdef012345"
    assert signer(now=1000 + HOUR).read(cookie) is None


def test_another_secret_makes_another_signature() -> None:
    assert signer(secret=b"other").read(signer().issue("abcdef012345")) is None


@given(st.text(max_size=100))
def test_no_text_passes_for_a_cookie(text: str) -> None:
    assert signer().read(text) is None


@given(st.integers(0, 200), st.characters(codec="ascii", exclude_categories=["C"]))
def test_no_change_of_a_cookie_passes(place: int, character: str) -> None:
    cookie = signer().issue("abcdef012345")
    changed = cookie[: place % len(cookie)] + character + cookie[place % len(cookie) + 1 :]
    session = signer().read(changed)
    # The last character of base64 has bits that say nothing.
    assert (
        session is None
        or changed == cookie
        or (place % len(cookie) == len(cookie) - 1 and session.key == "abcdef012345")
    )


def test_processes_of_one_deployment_share_the_secret_without_being_told() -> None:
    assert session_secret(None, "password") == session_secret(None, "password") != session_secret(None, "another")
    assert session_secret("configured", "password") == b"configured"
    assert session_secret(None, "") != session_secret(None, "")
