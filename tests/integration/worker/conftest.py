from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.settings import ClickHouseSettings

from .pipeline import Pipeline, open_pipeline


@pytest.fixture
async def pipeline(redis_url: str, database: ClickHouseSettings) -> AsyncIterator[Pipeline]:
    async with open_pipeline(redis_url, database) as opened:
        yield opened
