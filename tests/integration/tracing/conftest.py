"""The real processes, and a collector that they tell of what they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import Collector, running_collector
from tests.support.door_stack import Stack, running_stack


def tracing(url: str, **more: str) -> dict[str, str]:
    """The environment that switches tracing on towards a collector."""
    return {
        "PLAUDIT_OTEL_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **more,
    }


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    """Door and worker, every request traced on which its sender says nothing; a spool, and large requests in parts."""
    folder = tmp_path_factory.mktemp("traced")
    settings = {
        "PLAUDIT_INGEST_SPOOL_DIR": str(folder / "spool"),
        "PLAUDIT_INGEST_PART_BYTES": "2000",
        "PLAUDIT_REDIS_TIMEOUT": "1",
        "PLAUDIT_INGEST_APPEND_TIMEOUT": "1",
        "PLAUDIT_WORKER_READ_BLOCK": "0.2",
        "PLAUDIT_WORKER_BATCH_AGE": "0.1",
        "PLAUDIT_WORKER_RETRY_CAP": "0.5",
    }
    with running_stack(Path(folder), **settings, **tracing(collector.url)) as running:
        yield running
