"""What is no proper request holds nothing, smuggles nothing and fills nothing."""

from __future__ import annotations

import gzip
import socket
import time
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from shared.keys import KeyKind

from .conftest import House

pytestmark = pytest.mark.integration

MIB = 1 << 20
BODY = b'{"trace_id":"smuggled","event_type":"e","metrics":{}}'


def post(house: House, body: bytes, *headers: str, eol: str = "\r\n") -> bytes:
    """A request with a good key, and further headers as they are."""
    lines = [
        "POST /api/track_event HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-Auth-Token: {house.ours.keys[KeyKind.LANGWATCH]}",
        *headers,
        "",
        "",
    ]
    return eol.join(lines).encode() + body


def exchange(house: House, data: bytes, seconds: float = 10.0) -> tuple[bytes, float]:
    """Sends; returns what came back until the server closed the connection, and how long that took."""
    started = time.monotonic()
    parts = urlsplit(house.door)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=seconds) as connection:
        if data:
            connection.sendall(data)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except TimeoutError:
            pytest.fail(f"the connection is still open after {seconds} s; so far: {answer[:300]!r}")
        except ConnectionResetError:
            pass
    return answer, time.monotonic() - started


def appended(house: House) -> int:
    """Entries ever appended to the log."""
    with redis.Redis.from_url(house.valkey.url) as client:
        if not client.exists("plaudit:feedback:{0}"):
            return 0
        return int(client.xinfo_stream("plaudit:feedback:{0}")["entries-added"])


def test_a_proper_request_is_taken(house: House) -> None:
    before = appended(house)
    answer, _ = exchange(house, post(house, BODY, f"Content-Length: {len(BODY)}", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert appended(house) == before + 1


SMUGGLED = b"POST /api/track_event HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"), id="both lengths"),
        pytest.param(("Transfer-Encoding: chunked", f"Content-Length: {len(BODY)}"), id="both lengths, turned"),
        pytest.param((f"Content-Length: {len(BODY)}", "Content-Length: 5"), id="two lengths"),
        pytest.param((f"Content-Length: {len(BODY)}, 5",), id="two lengths in one"),
        pytest.param(("Content-Length: -1",), id="negative length"),
        pytest.param((f"Content-Length: +{len(BODY)}",), id="signed length"),
        pytest.param(("Content-Length: 0x10",), id="hexadecimal length"),
        pytest.param(("Transfer-Encoding: chunked, identity",), id="chunked not last"),
        pytest.param(("Transfer-Encoding: xchunked", f"Content-Length: {len(BODY)}"), id="unknown encoding"),
        pytest.param((f"Content-Length : {len(BODY)}",), id="blank before the colon"),
        pytest.param((f"Content-Length: {len(BODY)}", " folded: header"), id="folded header"),
        pytest.param((f"Content-Length: {len(BODY)}", "X: a\rb"), id="bare carriage return"),
        pytest.param((f"Content-Length: {len(BODY)}", "X: a\x00b"), id="null byte"),
    ],
)
def test_a_request_of_unclear_length_is_refused_and_smuggles_nothing(headers: tuple[str, ...], house: House) -> None:
    before = appended(house)
    answer, _ = exchange(house, post(house, BODY + SMUGGLED, *headers))
    assert answer.startswith(b"HTTP/1.1 400"), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1
    assert appended(house) == before


def test_bare_line_feeds_are_refused(house: House) -> None:
    before = appended(house)
    answer, _ = exchange(house, post(house, BODY, f"Content-Length: {len(BODY)}", eol="\n"))
    assert answer.startswith(b"HTTP/1.1 400"), answer[:200]
    assert appended(house) == before


def test_a_body_that_does_not_come_is_not_waited_for(house: House) -> None:
    answer, seconds = exchange(house, post(house, BODY[:10], f"Content-Length: {len(BODY)}"))
    assert answer.startswith(b"HTTP/1.1 408"), answer[:200]
    assert seconds < 5


@pytest.mark.parametrize("sent", [b"", b"POST /api/track_event HTTP/1.1\r\nHost: x\r\nX-A"], ids=["nothing", "half"])
def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes, house: House) -> None:
    _, seconds = exchange(house, sent)
    assert seconds < 8


def test_an_idle_connection_is_closed(house: House) -> None:
    answer, seconds = exchange(house, post(house, BODY, f"Content-Length: {len(BODY)}"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert seconds < 6


def test_a_head_without_end_is_refused(house: House) -> None:
    answer, _ = exchange(house, post(house, b"", *(f"X-{number}: {'x' * 1000}" for number in range(1000))))
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


def test_a_decompression_bomb_stops_at_the_limit(house: House) -> None:
    door = psutil.Process(house.pieces[0].pid)
    before = door.memory_info().rss
    bomb = gzip.compress(b'{"events":[' + b" " * (300 * MIB))
    lines = [
        "POST /v1/runs/ingest HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {house.ours.keys[KeyKind.LUNARY_PUBLIC]}",
        "Content-Encoding: gzip",
        f"Content-Length: {len(bomb)}",
        "",
        "",
    ]
    answer, _ = exchange(house, "\r\n".join(lines).encode() + bomb)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert door.memory_info().rss - before < 80 * MIB
