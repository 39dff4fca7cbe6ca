"""The rate that a worker tells the doors."""

from __future__ import annotations

import pytest

from .events import thumb
from .pipeline import Pipeline, eventually

pytestmark = pytest.mark.integration


async def test_a_running_worker_tells_its_rate_and_takes_it_back_when_it_leaves(pipeline: Pipeline) -> None:
    async with pipeline.worker():
        await pipeline.append(*(pipeline.envelope(thumb(f"t{n}")) for n in range(100)))

        async def told() -> bool:
            return any(b" " in report for report in (await pipeline.redis.hgetall("plaudit:{rates}")).values())

        await eventually(told)
    assert await pipeline.redis.hlen("plaudit:{rates}") == 0
