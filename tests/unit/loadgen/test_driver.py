"""The driver against a real server on loopback that answers as told."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.loadgen.driver import Driver, TargetAwayError
from services.loadgen.history import Outcome
from services.loadgen.ledger import LedgerWriter, begin, read_ledger
from services.loadgen.options import LoadOptions, Target
from services.loadgen.plan import Plan, make_plan
from services.loadgen.requests import Prebuilt, build
from services.loadgen.workload import lane_steps

Answer = bytes | None
"""What a server writes; None: it drops the connection."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers each request with what ``reply`` gives for its number, in pieces if it is cut; keeps the bodies.

    ``gate``: nothing is answered before it is set.
    """

    def __init__(self, reply: Callable[[int], Answer], *, cuts: tuple[int, ...] = ()) -> None:
        self.reply = reply
        self.cuts = cuts
        self.gate = asyncio.Event()
        self.gate.set()
        self.bodies: list[bytes] = []
        self.address = ("127.0.0.1", 0)
        self.open = 0
        self.most_open = 0
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.address)
        self.address = self._server.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self._handlers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                answer = self.reply(len(self.bodies))
                if answer is None:
                    break
                await self.gate.wait()
                for start, end in itertools.pairwise([0, *self.cuts, len(answer)]):
                    writer.write(answer[start:end])
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving(reply: Callable[[int], Answer], *, cuts: tuple[int, ...] = ()) -> AsyncIterator[Server]:
    server = Server(reply, cuts=cuts)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def requests_of(events: int, **options: object) -> tuple[Plan, Prebuilt]:
    plan = make_plan(LoadOptions(events=events, **options), run="0a1b2c3d", started=1_795_000_000_000_000)  # type: ignore[arg-type]
    target = Target(ingest_url="http://h:1", project="p", langwatch_key="k", lunary_key="l")
    return plan, build(plan, range(plan.lanes), target, lambda _: None)


def driver_for(requests: Prebuilt, server: Server, **options: object) -> Driver:
    settings: dict[str, object] = {"connections": 8, "interval": 0.0, "request_timeout": 10.0, "patience": 10.0}
    return Driver(requests, address=server.address, **(settings | options))  # type: ignore[arg-type]


async def test_everything_is_sent_and_acknowledged() -> None:
    plan, requests = requests_of(2000)
    async with serving(lambda _: OK) as server:
        sent = await driver_for(requests, server).run()
    expected = [step.body for lane in range(plan.lanes) for step in lane_steps(plan, lane) for _ in range(step.copies)]
    assert sorted(server.bodies) == sorted(expected)
    assert sent.statuses == {200: len(expected)}
    assert sent.acts.keys() == {Outcome.ACKED}
    assert sent.latency.total == len(expected)
    assert server.most_open == 8


async def test_the_requests_of_a_lane_arrive_in_their_order_each_after_the_answer_to_the_last() -> None:
    plan, requests = requests_of(1500, duplicates=0.0)
    async with serving(lambda _: OK) as server:
        sent = await driver_for(requests, server).run()
    once = {body for body, times in Counter(server.bodies).items() if times == 1}
    arrived = {body: at for at, body in enumerate(server.bodies) if body in once}
    assert len(once) > 1000
    for lane in range(plan.lanes):
        bodies = [step.body for step in lane_steps(plan, lane)]
        order = [arrived[body] for body in bodies if body in once]
        assert order == sorted(order)
        spans = [sent.outcomes.result(lane, place, 0).received for place in range(len(bodies))]
        # Nearly GAP: that is kept on the monotonic clock, these are readings of the other one.
        assert all(earlier.hi + 1900 <= later.lo for earlier, later in itertools.pairwise(spans))


async def test_outcomes_are_told_apart_by_status() -> None:
    _, requests = requests_of(300, duplicates=0.0, mix="langwatch=1")
    statuses = [b"200 OK", b"400 Bad Request", b"503 Service Unavailable", b"202 Accepted"]

    def reply(number: int) -> bytes:
        return b"HTTP/1.1 " + statuses[number % 4] + b"\r\ncontent-length: 0\r\n\r\n"

    async with serving(reply) as server:
        sent = await driver_for(requests, server).run()
    assert sent.statuses == {200: 75, 400: 75, 503: 75, 202: 75}
    assert sent.acts == {Outcome.ACKED: 150, Outcome.REFUSED: 75, Outcome.AMBIGUOUS: 75}


async def test_a_connection_that_dies_loses_its_answer_and_is_opened_again() -> None:
    _, requests = requests_of(300, duplicates=0.0, mix="langwatch=1")
    async with serving(lambda number: None if number % 50 == 0 else OK) as server:
        sent = await driver_for(requests, server).run()
    assert sent.statuses == {200: 294, 0: 6}
    assert sent.acts[Outcome.AMBIGUOUS] == 6
    assert len(server.bodies) == 300


async def test_nothing_is_sent_over_a_connection_that_its_answer_closes() -> None:
    _, requests = requests_of(200)
    async with serving(lambda _: OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")) as server:
        sent = await driver_for(requests, server).run()
    assert sent.statuses.keys() == {200}
    assert sent.reconnects > 100


async def test_a_server_that_comes_back_is_found_and_nothing_is_sent_meanwhile() -> None:
    _, requests = requests_of(400, duplicates=0.0, mix="langwatch=1")
    away = asyncio.Event()

    def reply(number: int) -> Answer:
        if number == 100:
            away.set()
        return None if away.is_set() else OK

    async with serving(reply) as server:
        running = asyncio.create_task(driver_for(requests, server).run())
        await away.wait()
        await server.stop()
        away.clear()
        await server.start()
        sent = await running
    assert len(server.bodies) == 400
    assert sent.statuses[200] + sent.statuses[0] == 400
    assert 1 <= sent.statuses[0] <= 16
    assert sent.reconnects >= 1


async def test_answers_in_pieces_and_in_chunks_are_understood() -> None:
    _, requests = requests_of(100, mix="langwatch=1")
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"

    async with serving(lambda number: OK if number % 2 else chunked, cuts=(10, 30)) as server:
        sent = await driver_for(requests, server).run()
    assert sent.statuses == {200: requests.count + sum(copies - 1 for copies in requests.copies)}


@pytest.mark.parametrize(
    "nonsense", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", OK + b"more"]
)
async def test_an_answer_that_is_no_http_is_a_lost_answer(nonsense: bytes) -> None:
    _, requests = requests_of(20, duplicates=0.0, mix="langwatch=1")
    async with serving(lambda number: nonsense if number == 1 else OK) as server:
        sent = await driver_for(requests, server).run()
    assert sent.statuses == {200: 19, 0: 1}


async def test_a_200_that_refuses_an_event_inside_is_no_promise() -> None:
    _, requests = requests_of(10, duplicates=0.0, mix="lunary=1", lunary_other=0.0, lunary_batch="1=1")
    body = b'{"results":[{"id":"r","success":false,"error":"x"}]}'
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    async with serving(lambda number: answer if number == 1 else OK) as server:
        sent = await driver_for(requests, server).run()
    assert sent.faulty == 1
    assert sent.acts == {Outcome.ACKED: 9, Outcome.AMBIGUOUS: 1}


async def test_a_request_that_takes_too_long_is_a_lost_answer() -> None:
    _, requests = requests_of(10, duplicates=0.0, mix="langwatch=1")
    async with serving(lambda number: b"" if number == 1 else OK) as server:
        sent = await driver_for(requests, server, request_timeout=0.0).run()
    assert sent.statuses[0] >= 1
    assert sent.statuses[0] + sent.statuses[200] == 10


async def test_a_run_without_anybody_there_ends() -> None:
    _, requests = requests_of(10)
    server = Server(lambda _: OK)
    await server.start()
    await server.stop()
    with pytest.raises(TargetAwayError, match=str(server.address[1])):
        await driver_for(requests, server, patience=0.0).run()


async def test_at_a_rate_requests_are_spaced_and_latency_counts_from_the_intended_time() -> None:
    _, requests = requests_of(60, duplicates=0.0, mix="langwatch=1")
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with serving(lambda _: OK) as server:
        sent = await driver_for(requests, server, interval=0.005).run()
    assert loop.time() - start >= 59 * 0.005
    assert sent.latency.quantile(0.5) < 5_000


async def test_a_stall_of_the_server_shows_in_the_latency_of_all_requests_that_it_held_up() -> None:
    _, requests = requests_of(100, duplicates=0.0, mix="langwatch=1", traces=100)
    async with serving(lambda _: OK) as server:
        server.gate.clear()
        asyncio.get_running_loop().call_later(0.2, server.gate.set)
        sent = await driver_for(requests, server, connections=1, interval=0.001).run()
    # Only one request was under way during the stall; the others waited for it, as users would.
    assert sent.service.quantile(0.9) < 100_000
    assert sent.latency.quantile(0.5) > 100_000


async def test_stopping_early_leaves_the_rest_unsent() -> None:
    plan, requests = requests_of(2000, duplicates=0.0, mix="langwatch=1")
    driver: Driver

    def reply(number: int) -> bytes:
        if number == 100:
            driver.stop()
        return OK

    async with serving(reply) as server:
        driver = driver_for(requests, server)
        sent = await driver.run()
    assert 100 <= sent.statuses[200] <= 108
    outcomes = [sent.outcomes.result(lane, place, 0).outcome
                for lane in range(plan.lanes) for place in range(plan.lane_events(lane))]  # fmt: skip
    assert outcomes.count(Outcome.UNSENT) == 2000 - sent.statuses[200]


async def test_a_request_is_in_the_ledger_before_it_is_sent(tmp_path: Path) -> None:
    plan, requests = requests_of(300)
    path = tmp_path / "ledger"
    begin(path, plan, "p")
    lanes = {step.body: lane for lane in range(plan.lanes) for step in lane_steps(plan, lane)}
    seen: list[bool] = []

    def reply(number: int) -> bytes:
        lane = lanes[server.bodies[-1]]
        place = next(at for at, step in enumerate(lane_steps(plan, lane)) if step.body == server.bodies[-1])
        seen.append(read_ledger(path).checksum(lane, place) is not None)
        return OK

    async with serving(reply) as server:
        ledger = LedgerWriter(path)
        sent = await driver_for(requests, server, ledger=ledger).run()
        ledger.close()
    assert all(seen)
    book = read_ledger(path)
    for lane in range(plan.lanes):
        for place, step in enumerate(lane_steps(plan, lane)):
            for copy in range(step.copies):
                assert book.result(lane, place, copy) == sent.outcomes.result(lane, place, copy)
