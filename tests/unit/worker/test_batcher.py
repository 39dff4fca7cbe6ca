from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.worker.batcher import Batch, Batcher, BatchLimits
from services.worker.entries import Entry

from .doubles import ManualClock, entry, thumb

NEVER = 3600.0


class Flights:
    """A flush that lands when the test says so."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.landing: list[asyncio.Future[None]] = []
        self.launched = asyncio.Event()

    async def __call__(self, batch: Batch) -> None:
        self.batches.append(batch)
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.landing.append(landed)
        self.launched.set()
        await landed

    async def next(self) -> Batch:
        await asyncio.wait_for(self.launched.wait(), 5)
        self.launched.clear()
        return self.batches[-1]

    def land(self, number: int) -> None:
        self.landing[number].set_result(None)


async def settle_down() -> None:
    """Lets every task run until all of them wait."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(
    flights: Flights, limits: BatchLimits, in_flight: int = 2, clock: ManualClock | None = None
) -> AsyncIterator[Batcher]:
    batcher = Batcher(flights, limits, in_flight=in_flight, clock=clock or ManualClock())
    task = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for landed in flights.landing:
            if not landed.done():
                landed.set_result(None)


def entries(count: int) -> list[Entry]:
    return [entry(thumb(), number=n) for n in range(1, count + 1)]


async def test_a_batch_goes_when_it_has_its_rows() -> None:
    flights = Flights()
    async with running(flights, BatchLimits(rows=3, bytes=10**9, age=NEVER)) as batcher:
        await batcher.add(entries(2))
        await settle_down()
        assert not flights.batches
        await batcher.add([entry(thumb(), number=3)])
        assert (await flights.next()).rows == 3


async def test_rows_are_events_not_entries() -> None:
    flights = Flights()
    async with running(flights, BatchLimits(rows=3, bytes=10**9, age=NEVER)) as batcher:
        await batcher.add([entry(thumb("a"), thumb("b"), thumb("c"))])
        assert len((await flights.next()).entries) == 1


async def test_a_batch_goes_when_it_has_its_bytes() -> None:
    flights = Flights()
    one = entry(thumb(comment="x" * 1000))
    async with running(flights, BatchLimits(rows=10**9, bytes=2 * one.size, age=NEVER)) as batcher:
        await batcher.add([one])
        await settle_down()
        assert not flights.batches
        await batcher.add([one])
        assert (await flights.next()).bytes == 2 * one.size


async def test_a_batch_goes_when_its_first_entry_is_old_enough() -> None:
    flights, clock = Flights(), ManualClock()
    limits = BatchLimits(rows=10**9, bytes=10**9, age=NEVER)
    batcher = Batcher(flights, limits, in_flight=1, clock=clock)
    await batcher.add(entries(1))
    clock.now += NEVER - 1
    await batcher.add([entry(thumb(), number=2)])
    clock.now += 1
    task = asyncio.create_task(batcher.run())
    assert len((await flights.next()).entries) == 2
    task.cancel()
    flights.land(0)


async def test_a_young_batch_waits() -> None:
    flights = Flights()
    async with running(flights, BatchLimits(rows=10, bytes=10**9, age=NEVER)) as batcher:
        await batcher.add(entries(1))
        await settle_down()
        assert not flights.batches


async def test_add_waits_while_the_batch_is_full_and_no_flight_is_free() -> None:
    flights = Flights()
    async with running(flights, BatchLimits(rows=1, bytes=10**9, age=NEVER), in_flight=1) as batcher:
        adding = asyncio.create_task(batcher.add(entries(5)))
        await settle_down()
        assert not adding.done()
        assert len(flights.batches) == 1
        assert batcher.flights == 1
        flights.land(0)
        await settle_down()
        assert len(flights.batches) == 2
        assert not adding.done()


async def test_flights_are_bounded() -> None:
    flights = Flights()
    async with running(flights, BatchLimits(rows=1, bytes=10**9, age=NEVER), in_flight=3) as batcher:
        adding = asyncio.create_task(batcher.add(entries(9)))
        await settle_down()
        assert batcher.flights == 3
        adding.cancel()


async def test_an_old_batch_without_a_free_flight_goes_on_building_up() -> None:
    flights, clock = Flights(), ManualClock()
    async with running(flights, BatchLimits(rows=10, bytes=10**9, age=1.0), in_flight=1, clock=clock) as batcher:
        await batcher.add(entries(10))
        await flights.next()
        await batcher.add(entries(3))
        clock.now += 60
        await batcher.add(entries(3))
        await settle_down()
        assert len(flights.batches) == 1
        flights.land(0)
        assert len((await flights.next()).entries) == 6


async def test_drain_sends_the_rest_and_waits_until_it_has_landed() -> None:
    flights = Flights()
    async with running(flights, BatchLimits(rows=10, bytes=10**9, age=NEVER)) as batcher:
        await batcher.add(entries(3))
        draining = asyncio.create_task(batcher.drain())
        assert len((await flights.next()).entries) == 3
        await settle_down()
        assert not draining.done()
        flights.land(0)
        await asyncio.wait_for(draining, 5)
        assert batcher.flights == 0


async def test_drain_of_nothing_returns_at_once() -> None:
    async with running(Flights(), BatchLimits(rows=10, bytes=10**9, age=NEVER)) as batcher:
        await asyncio.wait_for(batcher.drain(), 5)


async def test_a_flush_that_fails_frees_its_flight(capsys: pytest.CaptureFixture[str]) -> None:
    flushed = []

    async def flush(batch: Batch) -> None:
        flushed.append(batch)
        if len(flushed) == 1:
            raise KeyError("no such thing")

    batcher = Batcher(flush, BatchLimits(rows=1, bytes=10**9, age=NEVER), in_flight=1, clock=ManualClock())
    task = asyncio.create_task(batcher.run())
    await asyncio.wait_for(batcher.add(entries(3)), 5)
    await asyncio.wait_for(batcher.drain(), 5)
    await asyncio.wait_for(task, 5)
    assert len(flushed) == 3
    assert "batch_failed" in capsys.readouterr().out


async def test_several_readers_share_one_batch() -> None:
    flights = Flights()
    async with running(flights, BatchLimits(rows=20, bytes=10**9, age=NEVER)) as batcher:
        await asyncio.gather(*(batcher.add(entries(5)) for _ in range(4)))
        assert (await flights.next()).rows == 20
