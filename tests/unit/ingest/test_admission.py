from __future__ import annotations

import base64

import pytest

from services.ingest_api.door import blanked
from services.ingest_api.langwatch import Credentials, credentials, project_of
from services.ingest_api.lunary_access import UnauthorizedError, presented_token
from services.ingest_api.rate import RateLimiter
from services.ingest_api.replies import TOO_MANY_REQUESTS, RefusedError
from shared.keys import Key, KeyKind

_SCOPED = "sk-lw-" + "A" * 16 + "_" + "b" * 48
_UUID = "11111111-2222-4333-8444-555555555555"


def _basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("headers", "presented"),
    [
        ({b"authorization": b"Bearer t"}, Credentials("t", None)),
        ({b"authorization": b"bearer   t  "}, Credentials("t", None)),
        ({b"authorization": b"Bearer t", b"x-project-id": b"p"}, Credentials("t", "p")),
        ({b"authorization": b"Bearer t", b"x-auth-token": b"other"}, Credentials("t", None)),
        ({b"authorization": b"Bearer ", b"x-auth-token": b"t"}, Credentials("t", None)),
        ({b"authorization": _basic("p:t:u"), b"x-project-id": b"other"}, Credentials("t:u", "p")),
        ({b"authorization": _basic("p:"), b"x-auth-token": b"t"}, Credentials("t", None)),
        ({b"authorization": _basic(":t"), b"x-auth-token": b"t2"}, Credentials("t2", None)),
        ({b"authorization": b"Basic ???", b"x-auth-token": b"t"}, Credentials("t", None)),
        ({b"authorization": b"Basic /w==", b"x-auth-token": b"t"}, Credentials("t", None)),
        ({b"authorization": b"Digest t", b"x-auth-token": b"t2"}, Credentials("t2", None)),
        ({b"x-auth-token": b" t ", b"x-project-id": b" p "}, Credentials("t", "p")),
        ({b"x-auth-token": b""}, None),
        ({b"authorization": b"Digest t"}, None),
        ({b"authorization": b""}, None),
        ({}, None),
    ],
)
def test_langwatch_credentials_have_the_vendors_precedence(
    headers: dict[bytes, bytes], presented: Credentials | None
) -> None:
    assert credentials(headers) == presented


def _key(*projects: str, kind: KeyKind = KeyKind.LANGWATCH) -> Key:
    return Key(kind, projects, "fingerprint")


@pytest.mark.parametrize(
    ("key", "presented", "project"),
    [
        (_key("p"), Credentials("sk-lw-legacy", None), "p"),
        (_key("p"), Credentials("sk-lw-legacy", "vendor-side-name"), "p"),
        (_key("p"), Credentials(_SCOPED, None), "p"),
        (_key("p"), Credentials(_SCOPED, "p"), "p"),
        (_key("p"), Credentials(_SCOPED, "q"), None),
        (_key("p", "q"), Credentials(_SCOPED, "q"), "q"),
        (_key("p", "q"), Credentials(_SCOPED, None), None),
        (_key("p", "q"), Credentials(_SCOPED, "r"), None),
        (_key("p", "q"), Credentials("sk-lw-legacy", "q"), "q"),
        (_key("p"), Credentials("ik-lw-x", "q"), None),
        (_key("p", kind=KeyKind.LUNARY_PRIVATE), Credentials(_UUID, None), None),
    ],
)
def test_a_langwatch_key_reaches_its_own_projects_only(key: Key, presented: Credentials, project: str | None) -> None:
    assert project_of(key, presented) == project


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({b"authorization": b"Bearer t"}, "t"),
        ({b"authorization": b"anything t more"}, "t"),
        ({b"authorization": b"Bearer t", b"x-api-key": _UUID.encode()}, "t"),
        ({b"authorization": b"t", b"x-api-key": _UUID.encode()}, _UUID),
        ({b"x-api-key": _UUID.encode()}, _UUID),
    ],
)
def test_a_lunary_key_is_the_second_word_or_x_api_key(headers: dict[bytes, bytes], token: str) -> None:
    assert presented_token(headers) == token


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({b"authorization": b"t"}, 401),
        ({b"authorization": b"Bearer  t"}, 401),
        ({b"x-api-key": b"no uuid"}, 404),
    ],
)
def test_a_lunary_request_without_a_key_is_refused(headers: dict[bytes, bytes], status: int) -> None:
    with pytest.raises(UnauthorizedError) as refusal:
        presented_token(headers)
    assert refusal.value.status == status


def test_a_secret_is_blanked_whatever_its_case_and_however_often() -> None:
    raw = f'{{"a":"{_UUID.upper()}","b":"x{_UUID}y{_UUID}"}}'.encode()
    stars = "*" * 36
    assert blanked(raw, _UUID) == f'{{"a":"{stars}","b":"x{stars}y{stars}"}}'.encode()
    assert blanked(raw, _UUID, b"0" * 36).count(b"0" * 36) == 3


def test_what_is_too_short_for_a_secret_blanks_nothing() -> None:
    assert blanked(b'{"vote":1}', "vote") == b'{"vote":1}'


def test_the_rate_limit_lets_a_burst_through_and_then_says_when_to_come_back() -> None:
    now = 100.0
    limiter = RateLimiter(2, 5, lambda: now)
    for _ in range(10):
        limiter.admit("p")
    with pytest.raises(RefusedError) as refusal:
        limiter.admit("p")
    assert (refusal.value.code, refusal.value.retry_after) == (TOO_MANY_REQUESTS, 1)
    limiter.admit("q")
    now += 0.5
    limiter.admit("p")
    with pytest.raises(RefusedError):
        limiter.admit("p")
    now += 1000
    for _ in range(10):
        limiter.admit("p")


def test_a_slow_rate_tells_the_seconds_until_the_next() -> None:
    limiter = RateLimiter(0.1, 1, lambda: 0.0)
    limiter.admit("p")
    with pytest.raises(RefusedError) as refusal:
        limiter.admit("p")
    assert refusal.value.retry_after == 10


def test_without_a_rate_all_pass() -> None:
    limiter = RateLimiter(0, 10, lambda: 0.0)
    for _ in range(1000):
        limiter.admit("p")
