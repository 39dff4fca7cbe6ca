from __future__ import annotations

import asyncio
from typing import Any, cast

from services.ingest_api.app import Parts, on_duty


class Reader:
    closed = False

    def close(self) -> None:
        self.closed = True


def parts(duty: object, reader: Reader, patience: float) -> Parts:
    nothing = cast("Any", None)
    return Parts(nothing, cast("Any", reader), nothing, {}, nothing, [cast("Any", duty)], nothing, patience)


async def test_a_duty_that_loses_a_cancellation_does_not_keep_the_door_from_ending() -> None:
    async def deaf_once() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    reader = Reader()
    async with asyncio.timeout(5), on_duty(parts(deaf_once, reader, 0.05)):
        pass
    assert reader.closed


async def test_a_duty_has_its_time_to_end() -> None:
    ended = False

    async def slow_to_end() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended = True

    async with on_duty(parts(slow_to_end, Reader(), 5)):
        pass
    assert ended
