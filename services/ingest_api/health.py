"""Whether the door works, and its figures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.keyring import Keyring
from shared.storage import describe
from shared.telemetry import METRICS_CONTENT_TYPE, IngestMetrics

from .door import Tally
from .partitioned import PartitionedPublisher
from .pressure import Pressure
from .publisher import Publisher

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PING_SECONDS = 2.0


class Health:
    """Ready means: Redis answers and keys are known. ClickHouse does not count: feedback is taken without it."""

    def __init__(
        self,
        redis: Redis,
        keyring: Keyring,
        publisher: Publisher | PartitionedPublisher,
        pressure: Pressure,
        tally: Tally,
        metrics: IngestMetrics,
    ) -> None:
        self._redis = redis
        self._keyring = keyring
        self._publisher = publisher
        self._pressure = pressure
        self._tally = tally
        self._metrics = metrics
        self.draining = False

    async def live(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        problems = []
        if self.draining:
            problems.append("draining")
        if not self._keyring.ready:
            problems.append("no keys are known yet")
        if not self._pressure.ready:
            problems.append("the backlog is near its limit")
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            problems.append(f"redis: {describe(error)}")
        if problems:
            return JSONResponse({"status": "not ready", "problems": problems}, status_code=503)
        return JSONResponse({"status": "ok"})

    async def metrics(self, _request: Request) -> Response:
        self._tally.fold(self._metrics)
        self._metrics.waiting.set(self._publisher.waiting)
        return Response(self._metrics.render(), headers={"content-type": METRICS_CONTENT_TYPE})
