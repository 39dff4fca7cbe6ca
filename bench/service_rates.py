"""What one worker drains and what an entry costs in Redis, measured on the embedded servers: the input of autoscaling.

python -m bench.service_rates [--entries 120000]   prints JSON
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from pydantic import SecretStr

from services.standalone.embedded import embedded_clickhouse, embedded_valkey
from services.standalone.process import free_port, http_ok
from shared.envelope import FIELD, Envelope, RawEvent, encode
from shared.migrate import migrate
from shared.settings import ClickHouseSettings, RedisSettings
from shared.streams import partitions

_STREAM = partitions(RedisSettings())[0]
_EVENT = (
    b'{"trace_id":"trace_%08d","event_type":"thumbs_up_down","metrics":{"vote":%d},'
    b'"event_details":{"feedback":"This response was helpful!"},"timestamp":%d}'
)


def fill(client: redis.Redis, entries: int) -> float:
    """Appends distinct events of ordinary size; returns the bytes of Redis that one costs."""
    before = _memory(client)
    now = time.time_ns() // 1000
    for start in range(0, entries, 1000):
        pipe = client.pipeline(transaction=False)
        for number in range(start, min(entries, start + 1000)):
            raw = _EVENT % (number, 1 if number % 3 else -1, now // 1000 - number)
            envelope = Envelope("bench", "langwatch", secrets.token_bytes(16), now + number, [RawEvent(0, raw)])
            pipe.xadd(_STREAM, {FIELD: encode(envelope)})
        pipe.execute()
    return (_memory(client) - before) / entries


def _memory(client: redis.Redis) -> int:
    info: Any = client.info("memory")
    return int(info["used_memory"])


@contextmanager
def workers(count: int, redis_url: str, clickhouse_url: str) -> Iterator[list[int]]:
    """Real worker processes, ready; gives their pids."""
    running = []
    try:
        for _ in range(count):
            port = free_port()
            servers = {"PLAUDIT_REDIS_URL": redis_url, "PLAUDIT_CLICKHOUSE_URL": clickhouse_url}
            env = os.environ | servers | {"PLAUDIT_METRICS_PORT": str(port), "PLAUDIT_LOG_LEVEL": "warning"}
            running.append(subprocess.Popen([sys.executable, "-m", "services.cli", "worker"], env=env))
            while not http_ok(port, "/health/ready"):
                time.sleep(0.05)
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(40)


def drain(client: redis.Redis, deadline: float = 300.0) -> float:
    """Seconds until the log is empty."""
    started = time.monotonic()
    while client.xlen(_STREAM):
        if time.monotonic() - started > deadline:
            raise TimeoutError("the workers did not drain the log")
        time.sleep(0.01)
    return time.monotonic() - started


def peak_memory(pid: int) -> int:
    """Bytes, VmHWM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def measure(entries: int) -> dict[str, Any]:
    """Rates with one worker and with two, and the memory of an entry and of a worker."""
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_valkey(Path(folder)) as (redis_url, _),
        embedded_clickhouse(Path(folder)) as (clickhouse_url, _),
        redis.Redis.from_url(redis_url) as client,
    ):
        migrate(ClickHouseSettings(clickhouse_url=SecretStr(clickhouse_url)))
        found: dict[str, Any] = {"entries": entries, "load": os.getloadavg()[0], "cores": os.cpu_count()}
        for count in (1, 2):
            found["entry_bytes"] = round(fill(client, entries))
            with workers(count, redis_url, clickhouse_url) as pids:
                # A first batch pays for imports and connections; what counts is the rest.
                while client.xlen(_STREAM) > entries * 0.8:
                    time.sleep(0.005)
                left: Any = client.xlen(_STREAM)
                found[f"rate_{count}"] = round(left / drain(client))
                found["worker_bytes"] = max(peak_memory(pid) for pid in pids)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=120_000)
    print(json.dumps(measure(parser.parse_args().entries), indent=2))


if __name__ == "__main__":
    main()
