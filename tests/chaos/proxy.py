"""A TCP proxy that a scenario can cut, freeze, slow down, or make lose answers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, Self, TypeVar

_CHUNK = 65536

T = TypeVar("T")


class Mode(StrEnum):
    """What happens to what passes."""

    PASS = "pass"
    CUT = "cut"
    """Connections are reset, new ones too."""
    FREEZE = "freeze"
    """Connections stay open, nothing passes: a network that swallows packets."""
    LOSE_ANSWERS = "lose_answers"
    """Requests arrive; in place of the first answer the connection is reset."""


class LoopThread:
    """An event loop in a thread of its own, so that scenarios can be written straight on."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(10)

    def call(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class TcpProxy:
    """In front of one port of this machine, on another. Use as a context manager; ``set`` works from any thread."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._thread = LoopThread()
        self._mode = Mode.PASS
        self._delay = 0.0
        self._passing = asyncio.Event()
        self._connections: set[asyncio.StreamWriter] = set()
        self.lost_answers = 0
        self.port = 0

    def __enter__(self) -> Self:
        self.port = self._thread.run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.call(self._server.close)
        self._thread.stop()

    def set(self, mode: Mode, *, delay: float = 0.0) -> None:
        """``delay``: seconds that each piece of data takes in either direction."""
        self._thread.run(self._set(mode, delay))

    async def _set(self, mode: Mode, delay: float) -> None:
        self._mode, self._delay = mode, delay
        if mode is Mode.FREEZE:
            self._passing.clear()
        else:
            self._passing.set()
        if mode is Mode.CUT:
            for writer in self._connections:
                writer.transport.abort()

    async def _listen(self) -> int:
        self._passing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode is Mode.CUT:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._connections |= ends
        try:
            await asyncio.wait(
                {
                    asyncio.create_task(self._carry(reader, far_writer, answers=False)),
                    asyncio.create_task(self._carry(far_reader, writer, answers=True)),
                },
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._connections -= ends
            for end in ends:
                end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._passing.wait()
                if answers and self._mode is Mode.LOSE_ANSWERS:
                    self.lost_answers += 1
                    return
                writer.write(data)
                await writer.drain()
            # What was written goes out before the connection is taken down.
            writer.write_eof()
            await asyncio.sleep(0.05)
