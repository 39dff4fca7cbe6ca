"""What the door does with connections: requests in flight when it is told to stop, and heads without end."""

from __future__ import annotations

import http.client
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx
import pytest

from services.ingest_api.protocol import HEAD_LIMIT
from tests.support.door_stack import LEGACY, Stack, another_service, running_stack

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("connections")) as running:
        yield running


def _connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=20)


def _head(body: bytes, more: bytes = b"") -> bytes:
    fields = f"Host: x\r\nX-Auth-Token: {LEGACY}\r\nContent-Length: {len(body)}\r\n".encode()
    return b"POST /api/track_event HTTP/1.1\r\n" + fields + more + b"\r\n"


def _vote(trace: str) -> bytes:
    return b'{"trace_id":"%s","event_type":"thumbs_up_down","metrics":{"vote":1}}' % trace.encode()


def test_requests_in_flight_are_finished_when_it_is_told_to_stop(stack: Stack) -> None:
    traces = [uuid.uuid4().hex for _ in range(3)]
    with another_service(stack, "ingest", "PLAUDIT_INGEST_PORT") as (url, door):
        in_flight = [_connect(url) for _ in traces]
        for connection, trace in zip(in_flight, traces, strict=True):
            body = _vote(trace)
            connection.sendall(_head(body) + body[:10])
        # Only a request whose head was read counts as in flight: the one that is answered now came after them.
        assert httpx.get(f"{url}/health/live").status_code == 200
        door.send_signal(signal.SIGTERM)
        _wait_until_it_listens_no_more(url)
        assert door.poll() is None
        for connection, trace in zip(in_flight, traces, strict=True):
            connection.sendall(_vote(trace)[10:])
            with connection.makefile("rb") as answer:
                head, _, rest = answer.read().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in head.lower()
            assert rest == b'{"message":"Event tracked"}'
            connection.close()
        assert door.wait(20) == 0
    for trace in traces:
        assert len(stack.wait_for_events("trace_id = {t:String}", 1, {"t": trace})) == 1


def _wait_until_it_listens_no_more(url: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            _connect(url).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    raise AssertionError("it went on listening")


def test_a_head_without_end_is_refused_and_a_long_one_is_read(stack: Stack) -> None:
    body = _vote(uuid.uuid4().hex)
    with _connect(stack.url) as connection:
        connection.sendall(_head(body, b"X-Long: " + b"a" * (HEAD_LIMIT // 2) + b"\r\n") + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
    with _connect(stack.url) as connection:
        connection.sendall(_head(body)[:-2])
        try:
            for number in range(10_000):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))
            raise AssertionError("ten megabytes of headers were taken")
        except (BrokenPipeError, ConnectionResetError):
            pass
    with _connect(stack.url) as connection:
        connection.sendall(_head(body)[:-2] + b"X-A: " + b"a" * HEAD_LIMIT)
        connection.sendall(b"a" * 100)
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 431 ")


def test_a_long_body_is_not_taken_for_a_head(stack: Stack) -> None:
    body = _vote(uuid.uuid4().hex) + b" " * (3 * HEAD_LIMIT)
    with _connect(stack.url) as connection:
        for _ in range(2):
            connection.sendall(_head(body))
            for start in range(0, len(body), 50_000):
                connection.sendall(body[start : start + 50_000])
            assert _status(connection) == 200


def test_requests_that_do_not_wait_for_answers_are_answered_each_and_in_order(stack: Stack) -> None:
    good, bad = _vote(uuid.uuid4().hex), b'{"trace_id": 5'
    with _connect(stack.url) as connection:
        connection.sendall(b"".join(_head(body) + body for body in (good, bad, good, bad)))
        replies = connection.makefile("rb")
        assert [_next_status(replies) for _ in range(4)] == [200, 400, 200, 400]


def _next_status(replies: BinaryIO) -> int:
    """Of the next of several answers, each read to its end by the length that it tells."""
    status = int(replies.readline().split()[1])
    headers = dict(line.split(b": ", 1) for line in iter(replies.readline, b"\r\n"))
    replies.read(int(headers[b"content-length"]))
    return status


def _status(connection: socket.socket) -> int:
    """Of one whole answer, however many pieces it comes in."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status
