"""Requests over raw sockets, framed well and badly; answers read by their own rules."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from tests.fuzz.recipes import Request

PATIENCE = 30.0
"""Seconds after which a request without an answer counts as hanging. The door gives up slow bodies long before."""


_SPOILING = ("short", "nonsense", "smuggled")
"""Ways of sending that leave a connection in a state that nobody knows."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class HangError(AssertionError):
    """The server neither answered nor closed."""


class Client:
    """One connection at a time, opened anew after every request that may have spoilt it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: Request) -> list[Answer]:
        """The answers to a request: one; two where it was pipelined twice; none where the server just closed.

        Raises HangError.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._send(request)
        except TimeoutError:
            raise HangError(f"no answer within {PATIENCE} s: {request}") from None

    async def close(self) -> None:
        if self._connection is not None:
            self._connection[1].close()
            self._connection = None

    async def _send(self, request: Request) -> list[Answer]:
        wanted = 2 if request.wire in ("pipelined", "smuggled") else 1
        if request.wire in _SPOILING:
            await self.close()
        for is_last_try in (self._connection is None, True):
            if self._connection is None:
                self._connection = await asyncio.open_connection(*self._address)
            reader, writer = self._connection
            answers = await self._exchange(request, reader, writer, wanted)
            spoilt = request.wire in _SPOILING or len(answers) < wanted
            if spoilt or any(answer.headers.get("connection") == "close" for answer in answers):
                await self.close()
            if answers or is_last_try:
                return answers
            # An idle connection may have been closed by the server; a fresh one tells.
        raise AssertionError("unreachable")

    async def _exchange(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wanted: int
    ) -> list[Answer]:
        answers: list[Answer] = []
        try:
            for piece in pieces(request):
                writer.write(piece)
                await writer.drain()
                if request.wire == "slowly":
                    await asyncio.sleep(0)
            if request.wire == "short":
                writer.write_eof()
            while len(answers) < wanted:
                answers.append(await _read_answer(reader))
        except (ConnectionError, asyncio.IncompleteReadError):
            await self.close()
        return answers


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        status = int(first.split(" ")[1])
        if status != 100:
            break
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return Answer(status, headers, body)
    if "content-length" in headers:
        return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
    return Answer(status, headers, b"" if status == 204 else await reader.read())


def pieces(request: Request) -> Iterator[bytes]:
    """The bytes of a request, as they are handed to the socket."""
    head = f"POST {request.path} HTTP/1.1\r\nHost: door\r\n".encode()
    head += b"".join(name + b": " + value + b"\r\n" for name, value in request.headers)
    payload, step = request.payload, request.chunk
    sized = head + b"Content-Length: %d\r\n" % len(payload)
    match request.wire:
        case "chunked":
            yield head + b"Transfer-Encoding: chunked\r\n\r\n"
            # Not more than a hundred pieces, however small they are to be.
            step = max(step, len(payload) // 100)
            for start in range(0, len(payload), step):
                part = payload[start : start + step]
                yield b"%x;ext=1\r\n" % len(part) + part + b"\r\n"
            yield b"0\r\nX-Trailer: 1\r\n\r\n"
        case "slowly":
            step = max(step, len(payload) // 20)
            yield sized + b"\r\n"
            for start in range(0, len(payload), step):
                yield payload[start : start + step]
        case "expect":
            yield sized + b"Expect: 100-continue\r\n\r\n"
            yield payload
        case "pipelined":
            yield (sized + b"\r\n" + payload) * 2
        case "short":
            yield head + b"Content-Length: %d\r\n\r\n" % (len(payload) + step) + payload
        case "nonsense":
            yield _nonsense(step, head, sized, payload)
        case "smuggled":
            # One request by the length, two by the chunks: the second must never be served.
            hidden = b"POST " + request.path.encode() + b" HTTP/1.1\r\n\r\n"
            yield sized + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden
        case _:
            yield sized + b"\r\n" + payload


def _nonsense(step: int, head: bytes, sized: bytes, payload: bytes) -> bytes:
    match step:
        case 1:
            return b"\x16\x03\x01\x02\x00\x01" + payload + b"\r\n\r\n"
        case 7:
            return head + b"Content-Length: -1\r\n\r\n" + payload
        case 100:
            return sized + b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n" + payload
        case _:
            return head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + payload
