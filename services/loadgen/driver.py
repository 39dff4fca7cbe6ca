"""Sends prebuilt requests over many connections, flat out or at a rate, through outages, and times the answers."""

from __future__ import annotations

import asyncio
import time

import structlog

from services.loadgen.client import Connection
from services.loadgen.history import Outcome, Span
from services.loadgen.lanes import Lanes
from services.loadgen.ledger import LedgerWriter
from services.loadgen.options import OptionsError
from services.loadgen.outcomes import Outcomes, Result, judge, lost_answer
from services.loadgen.requests import Prebuilt
from services.loadgen.sent import Sent

log = structlog.get_logger()

_RECONNECT_FIRST, _RECONNECT_MOST = 0.02, 0.5
_REST_AFTER_REFUSAL = 0.25
_SWEEP = 0.25
_LEAST_SLEEP = 0.001
"""Seconds. Event loops count timers in milliseconds; asked for less they spin, and the server may need the core."""


class TargetAwayError(OptionsError):
    """Nobody has taken a connection for longer than the run's patience."""


class Driver:
    """One run over one set of requests. ``interval``: seconds between requests; 0 sends whenever a connection is free.

    At a rate the times at which requests are to be sent are fixed beforehand (open loop): a server that answers
    slowly makes them wait, and waiting counts as latency.
    """

    def __init__(
        self,
        requests: Prebuilt,
        *,
        address: tuple[str, int],
        connections: int,
        interval: float,
        request_timeout: float,
        patience: float,
        ledger: LedgerWriter | None = None,
    ) -> None:
        self._requests = requests
        self._address = address
        self._connections = connections
        self._interval = interval
        self._request_timeout = request_timeout
        self._patience = patience
        self._ledger = ledger
        self._lanes = Lanes(requests)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._copies: list[tuple[int, float]] = []
        self._awaiting_ledger: list[int] = []
        self._due = 0.0
        self._wake: asyncio.TimerHandle | None = None
        self._stopping = False
        self._last_contact = 0.0
        self._finished = asyncio.Event()
        self.sent = Sent(Outcomes(requests.lanes, requests.first))

    async def run(self) -> Sent:
        """Sends everything. Raises TargetAwayError."""
        start = self._due = self._last_contact = time.monotonic()
        for slot in self._lanes.begin():
            self._lane_is_free(slot, start)
        if not self._lanes.unfinished:
            return self.sent
        tasks = [asyncio.create_task(self._keep_connected()) for _ in range(self._connections)]
        if self._ledger:
            tasks.append(asyncio.create_task(self._write_ledger(self._ledger)))
        tasks += [asyncio.create_task(self._sweep()), asyncio.create_task(self._wait_for_the_end())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self.sent.seconds = time.monotonic() - start
            for task in done:
                task.result()
        finally:
            self._finished.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for connection in [*self._idle, *self._busy]:
                connection.abort()
        return self.sent

    def stop(self) -> None:
        """Sends no more; what is under way is waited for."""
        self._stopping = True
        self._finish_if_done()

    # What connections report.

    def connected(self, connection: Connection) -> None:
        self._last_contact = time.monotonic()
        self._idle.append(connection)
        self._pump()

    def answered(self, connection: Connection, status: int, head: bytes, body: bytes) -> None:
        now = time.monotonic()
        sent = self.sent
        sent.latency.record(int((now - connection.intended) * 1e6))
        sent.service.record(int((now - connection.sent) * 1e6))
        outcome = judge(status)
        if outcome is Outcome.ACKED and b'"success":false' in body:
            # Some event of the request was refused; which, only its results tell. Any of them may be there.
            outcome = Outcome.AMBIGUOUS
            sent.faulty += 1
        result = Result(outcome, Span(connection.sent_at, time.time_ns() // 1000))
        self._settle(connection, status, result, now)
        if b"\r\nconnection: close" in head:
            # It ends itself when this returns: what were sent over it now would be lost.
            pass
        elif outcome is Outcome.ACKED or b"\r\nretry-after:" not in head:
            self._idle.append(connection)
        else:
            asyncio.get_running_loop().call_later(_REST_AFTER_REFUSAL, self._rested, connection)
        self._pump()

    def disconnected(self, connection: Connection) -> None:
        if connection.number >= 0:
            self._settle(connection, 0, lost_answer(connection.sent_at), time.monotonic())
        elif connection in self._idle:
            self._idle.remove(connection)

    def _rested(self, connection: Connection) -> None:
        if not connection.lost.done():
            self._idle.append(connection)
            self._pump()

    # Sending.

    def _pump(self) -> None:
        """Sends what is due over the connections that are free."""
        idle, lanes = self._idle, self._lanes
        while idle:
            now = time.monotonic()
            if self._copies:
                number, intended = self._copies.pop()
                self._send(idle.pop(), number, 1, intended, now)
                continue
            ready_at = lanes.ready_at()
            if ready_at is None or self._stopping:
                return
            start = max(ready_at, self._due) if self._interval else ready_at
            if start > now:
                self._wake_at(start)
                return
            intended = self._due if self._interval else now
            self._due += self._interval
            number = lanes.take()
            if self._requests.copies[number] > 1:
                self._copies.append((number, intended))
            self._send(idle.pop(), number, 0, intended, now)

    def _send(self, connection: Connection, number: int, copy: int, intended: float, now: float) -> None:
        connection.number = number
        connection.copy = copy
        connection.intended = intended
        connection.sent = now
        connection.sent_at = time.time_ns() // 1000
        self._busy.add(connection)
        connection.write(self._requests.request(number))

    def _wake_at(self, moment: float) -> None:
        if self._wake is None or self._wake.cancelled():
            delay = max(_LEAST_SLEEP, moment - time.monotonic())
            self._wake = asyncio.get_running_loop().call_later(delay, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._pump()

    def _settle(self, connection: Connection, status: int, result: Result, now: float) -> None:
        number, copy = connection.number, connection.copy
        connection.number = -1
        self._busy.discard(connection)
        self.sent.statuses[status] += 1
        self.sent.acts[result.outcome] += self._requests.acts[number]
        self.sent.outcomes.record(number, copy, result.outcome, result.received.lo, result.received.hi)
        slot = self._lanes.slot_of(number)
        if self._ledger:
            self._ledger.answer(self._requests.lanes[slot], self._lanes.place(slot, number), copy, result)
        free = self._lanes.settle(number)
        if free is not None:
            self._lane_is_free(free, now)
        self._finish_if_done()

    def _lane_is_free(self, slot: int, now: float) -> None:
        if self._ledger is None:
            self._lanes.make_ready(slot, self._lanes.after_gap(now))
            return
        number = self._lanes.upcoming(slot)
        self._ledger.intend(
            self._requests.lanes[slot],
            self._lanes.place(slot, number),
            checksum=self._requests.checksums[number],
            copies=self._requests.copies[number],
            at=time.time_ns() // 1000,
        )
        self._awaiting_ledger.append(slot)

    def _finish_if_done(self) -> None:
        if not self._busy and not self._copies and (self._stopping or not self._lanes.unfinished):
            self._finished.set()

    # In the background.

    async def _wait_for_the_end(self) -> None:
        await self._finished.wait()

    async def _write_ledger(self, ledger: LedgerWriter) -> None:
        """Lanes go on when their intents are on disk."""
        loop = asyncio.get_running_loop()
        while not self._finished.is_set():
            slots, self._awaiting_ledger = self._awaiting_ledger, []
            if lines := ledger.take():
                writing = loop.run_in_executor(None, ledger.write, lines)
                try:
                    await asyncio.shield(writing)
                except asyncio.CancelledError:
                    # What is under way is on disk before the file is closed, or answers would be missing in it.
                    await asyncio.wait({writing})
                    raise
            now = time.monotonic()
            for slot in slots:
                self._lanes.make_ready(slot, self._lanes.after_gap(now))
            self._pump()
            await asyncio.sleep(0.001)

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        delay = _RECONNECT_FIRST
        while not self._finished.is_set():
            try:
                _, connection = await loop.create_connection(lambda: Connection(self), *self._address)
            except OSError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RECONNECT_MOST)
                continue
            delay = _RECONNECT_FIRST
            await connection.lost
            self.sent.reconnects += 1

    async def _sweep(self) -> None:
        """Ends requests that take too long, and the run when nobody is there."""
        while True:
            await asyncio.sleep(_SWEEP)
            now = time.monotonic()
            for connection in [c for c in self._busy if now - c.sent > self._request_timeout]:
                connection.abort()
            if self._idle or self._busy:
                self._last_contact = now
            elif now - self._last_contact > self._patience:
                host, port = self._address
                raise TargetAwayError(f"nobody takes connections at {host}:{port}")
