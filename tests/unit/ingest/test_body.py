from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from services.ingest_api.body import BodyReader, inflate
from services.ingest_api.replies import (
    BROKEN_ENCODING,
    TOO_LARGE,
    TOO_SLOW,
    UNAVAILABLE,
    UNKNOWN_ENCODING,
    ClientGoneError,
    Message,
    Receive,
    RefusedError,
)
from shared.settings import MIB, IngestSettings


def _receive(*chunks: bytes, gone: bool = False) -> Receive:
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": gone or number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]
    if gone:
        messages.append({"type": "http.disconnect"})
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    return receive


def _reader(clock: Callable[[], float] = lambda: 0.0) -> BodyReader:
    return BodyReader(30, clock, room=100_000, retry_after=2)


@pytest.mark.parametrize("chunks", [(b"",), (b"abc",), (b"a", b"", b"bc")])
async def test_a_body_is_read_whole(chunks: tuple[bytes, ...]) -> None:
    assert await _reader().read(_receive(*chunks), 3) == b"".join(chunks)


@pytest.mark.parametrize("chunks", [(b"abcd",), (b"ab", b"cd"), (b"ab", b"cd", b"ef")])
async def test_a_body_above_the_limit_is_read_to_its_end_and_refused(chunks: tuple[bytes, ...]) -> None:
    receive = _receive(*chunks)
    with pytest.raises(RefusedError) as refusal:
        await _reader().read(receive, 3)
    assert (refusal.value.code, refusal.value.close) == (TOO_LARGE, False)
    with pytest.raises((StopAsyncIteration, RuntimeError)):
        await receive()


async def test_a_body_far_above_the_limit_is_not_waited_for() -> None:
    with pytest.raises(RefusedError) as refusal:
        await _reader().read(_receive(b"a" * 10, b"b" * 10, b"c"), 3)
    assert (refusal.value.code, refusal.value.close) == (TOO_LARGE, True)
    with pytest.raises(RefusedError) as refusal:
        await _reader().read(_receive(), 3, b"100")
    assert (refusal.value.code, refusal.value.close) == (TOO_LARGE, True)


@pytest.mark.parametrize("chunks", [(), (b"a",), (b"abcd",)])
async def test_a_client_that_went_away_is_told_apart(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(ClientGoneError):
        await _reader().read(_receive(*chunks, gone=True), 3)


async def test_a_slow_body_is_interrupted_and_a_quick_one_is_not() -> None:
    now = 0.0
    reader = _reader(lambda: now)

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    slow = asyncio.create_task(reader.read(never, 3))
    await asyncio.sleep(0)
    now = 29.0
    reader.sweep()
    later = asyncio.create_task(reader.read(never, 3))
    await asyncio.sleep(0)
    now = 31.0
    reader.sweep()
    reader.sweep()
    with pytest.raises(RefusedError) as refusal:
        await slow
    assert (refusal.value.code, refusal.value.close) == (TOO_SLOW, True)
    assert not later.done()
    later.cancel()
    with pytest.raises(asyncio.CancelledError):
        await later
    reader.sweep()


def _raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (b"gzip", gzip.compress(b"text")),
        (b" GZIP ", gzip.compress(b"te") + gzip.compress(b"xt")),
        (b"x-gzip", gzip.compress(b"text") + b"\0\0"),
        (b"deflate", zlib.compress(b"text")),
        (b"deflate", _raw_deflate(b"text")),
        (b"identity", b"text"),
    ],
)
def test_a_body_is_inflated(encoding: bytes, packed: bytes) -> None:
    assert inflate(packed, encoding, 4) == b"text"


@pytest.mark.parametrize(
    ("encoding", "packed", "code"),
    [
        (b"br", b"x", UNKNOWN_ENCODING),
        (b"gzip, gzip", b"x", UNKNOWN_ENCODING),
        (b"gzip", b"", BROKEN_ENCODING),
        (b"gzip", b"plain", BROKEN_ENCODING),
        (b"gzip", gzip.compress(b"text")[:-1], BROKEN_ENCODING),
        (b"deflate", zlib.compress(b"text")[:-5], BROKEN_ENCODING),
        (b"deflate", b"\xff\xff\xff", BROKEN_ENCODING),
        (b"gzip", gzip.compress(b"text!"), TOO_LARGE),
        (b"gzip", gzip.compress(b"tex") + gzip.compress(b"tex"), TOO_LARGE),
        (b"deflate", _raw_deflate(b"\0" * 50_000_000), TOO_LARGE),
    ],
)
def test_what_cannot_be_inflated_within_the_limit_is_refused(encoding: bytes, packed: bytes, code: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        inflate(packed, encoding, 4)
    assert refusal.value.code == code


def test_a_bomb_is_stopped_at_the_limit() -> None:
    class Counting:
        """zlib's stream, with the most that one call was allowed to give."""

        allowed: list[int] = []  # noqa: RUF012 -- one test's own

    real = zlib.decompressobj

    def spy(wbits: int) -> Any:
        stream = real(wbits)

        class Stream:
            eof = property(lambda _self: stream.eof)
            unused_data = property(lambda _self: stream.unused_data)

            def decompress(self, body: bytes, most: int) -> bytes:
                Counting.allowed.append(most)
                return stream.decompress(body, most)

        return Stream()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zlib, "decompressobj", spy)
        with pytest.raises(RefusedError):
            inflate(gzip.compress(b"\0" * 10_000_000), b"gzip", 1000)
    assert Counting.allowed == [1001]


async def test_bodies_are_bounded_together_until_their_requests_are_answered() -> None:
    reader, answered = _reader(), asyncio.Event()

    async def request(*chunks: int) -> int:
        body = await reader.read(_receive(*[b"x" * size for size in chunks]), 1_000_000)
        await answered.wait()
        return len(body)

    held = [asyncio.create_task(request(20_000, 20_000)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RefusedError) as refusal:
        await asyncio.create_task(request(15_000, 15_000))
    assert (refusal.value.code, refusal.value.retry_after, refusal.value.close) == (UNAVAILABLE, 2, True)
    # What is small, or came in one piece and so was in memory before anyone could ask.
    small = [asyncio.create_task(request(*chunks)) for chunks in ((8_000, 8_000), (90_000,))]
    await asyncio.sleep(0)
    answered.set()
    assert await asyncio.gather(*held, *small) == [40_000, 40_000, 16_000, 90_000]
    assert await asyncio.create_task(request(50_000, 50_000)) == 100_000


def test_there_is_always_room_for_the_largest_body_that_is_taken() -> None:
    with pytest.raises(ValidationError, match="PLAUDIT_INGEST_BODIES_BYTES"):
        IngestSettings.model_validate({"ingest_bodies_bytes": 20 * MIB - 1})
    assert IngestSettings.model_validate({"ingest_bodies_bytes": 20 * MIB}).ingest_bodies_bytes == 20 * MIB
