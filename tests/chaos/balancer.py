"""A TCP balancer that sends new connections, in turn, to the doors that say they are ready."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from typing import Self

import httpx

from .proxy import LoopThread

_LOOK_EVERY = 0.1
_READY_SECONDS = 20.0
_CHUNK = 65536


class Balancer:
    """Use as a context manager. ``ports``: of the doors."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._ready: set[int] = set()
        self._turns = itertools.cycle(ports)
        self._thread = LoopThread()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        """Returns when every door gets new connections. Raises TimeoutError."""
        deadline = time.monotonic() + _READY_SECONDS
        while self._ready != set(self._ports):
            if time.monotonic() > deadline:
                raise TimeoutError(f"ready: {self._ready} of {self._ports}")
            time.sleep(_LOOK_EVERY)

    def __enter__(self) -> Self:
        self.port = self._thread.run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.call(self._server.close)
        self._thread.stop()

    async def _listen(self) -> int:
        self._looking = asyncio.create_task(self._look())
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _look(self) -> None:
        async with httpx.AsyncClient(timeout=2.0) as client:
            while True:
                for port in self._ports:
                    healthy = False
                    with contextlib.suppress(httpx.HTTPError):
                        healthy = (await client.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200
                    if healthy:
                        self._ready.add(port)
                    else:
                        self._ready.discard(port)
                await asyncio.sleep(_LOOK_EVERY)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected = await self._connect()
        if connected is None:
            writer.transport.abort()
            return
        far_reader, far_writer = connected
        try:
            await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for port in itertools.islice(self._turns, len(self._ports)):
            if port in self._ready:
                with contextlib.suppress(OSError):
                    return await asyncio.open_connection("127.0.0.1", port)
        return None


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
