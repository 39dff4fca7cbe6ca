from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.ingest_api.outage import SpoolingAppender
from services.ingest_api.spool import Spool
from shared.envelope import Envelope, RawEvent
from shared.errors import StoreUnavailableError
from shared.telemetry import IngestMetrics


def request(number: int) -> list[Envelope]:
    return [Envelope("p", "lunary", number.to_bytes(16, "big"), 1, [RawEvent(0, b"{}")], part) for part in (0, 1)]


class Log:
    """Takes or refuses appends, as told."""

    def __init__(self) -> None:
        self.away = False
        self.taken: list[list[Envelope]] = []

    async def append(self, envelopes: Sequence[Envelope]) -> None:
        if self.away:
            raise StoreUnavailableError("redis", "away")
        self.taken.append(list(envelopes))


class Clockwork:
    """A sleep that returns when the test says so."""

    def __init__(self) -> None:
        self._tick = asyncio.Event()
        self.asleep = asyncio.Event()

    async def sleep(self, _: float) -> None:
        self.asleep.set()
        await self._tick.wait()
        self._tick.clear()

    def tick(self) -> None:
        self._tick.set()


@asynccontextmanager
async def running(
    log: Log, folder: Path, *, capacity: int = 1 << 20
) -> AsyncIterator[tuple[SpoolingAppender, Clockwork]]:
    spool, clockwork = Spool(folder, capacity=capacity), Clockwork()
    appender = SpoolingAppender(log, spool, IngestMetrics(), sleep=clockwork.sleep)
    task = asyncio.create_task(appender.run())
    await clockwork.asleep.wait()
    try:
        yield appender, clockwork
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        spool.close()


def diverted(appender: SpoolingAppender) -> bool:
    return appender.diverted


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_nothing_is_spooled_while_the_log_takes_it(tmp_path: Path) -> None:
    log = Log()
    async with running(log, tmp_path) as (appender, _):
        await appender.append(request(1))
    assert log.taken == [request(1)]
    assert not list(tmp_path.rglob("*.spool"))


async def test_what_the_log_refuses_is_on_disk_before_append_returns_and_in_the_log_later(tmp_path: Path) -> None:
    log = Log()
    async with running(log, tmp_path) as (appender, clockwork):
        log.away = True
        await asyncio.gather(*(appender.append(request(number)) for number in range(50)))
        assert diverted(appender)
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.spool")) > 0
        log.away = False
        clockwork.tick()
        await until(lambda: not list(tmp_path.rglob("*.spool")))
        assert not diverted(appender)
        await appender.append(request(99))
    assert sorted(log.taken, key=lambda made: made[0].request_id) == [*map(request, range(50)), request(99)]


async def test_a_crash_during_the_outage_leaves_the_requests_to_the_next_process(tmp_path: Path) -> None:
    log = Log()
    log.away = True
    async with running(log, tmp_path) as (appender, _):
        await appender.append(request(7))
    log.away = False
    async with running(log, tmp_path):
        await until(lambda: log.taken == [request(7)])


async def test_a_disk_that_cannot_be_read_is_tried_again_and_the_intake_goes_on(tmp_path: Path) -> None:
    log = Log()
    log.away = True
    async with running(log, tmp_path / "spool") as (appender, clockwork):
        await appender.append(request(1))
        (segment,) = tmp_path.rglob("*.spool")
        segment.rename(tmp_path / "meanwhile")
        segment.mkdir()
        log.away = False
        for number in (2, 3):
            clockwork.tick()
            await appender.append(request(number))
        assert log.taken == []
        segment.rmdir()
        (tmp_path / "meanwhile").rename(segment)
        clockwork.tick()
        await until(lambda: len(log.taken) == 3)


async def test_a_full_spool_refuses_the_request(tmp_path: Path) -> None:
    log = Log()
    log.away = True
    async with running(log, tmp_path, capacity=10) as (appender, _):
        with pytest.raises(StoreUnavailableError, match="full"):
            await appender.append(request(1))


async def test_while_diverted_the_log_is_not_asked(tmp_path: Path) -> None:
    log = Log()
    async with running(log, tmp_path) as (appender, _):
        log.away = True
        await appender.append(request(1))
        log.away = False
        await appender.append(request(2))
        assert log.taken == []
