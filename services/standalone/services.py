"""The services of the pipeline as children: the same processes as in production, told everything by environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from services.standalone.process import LOOPBACK, ProcessSpec, http_ok, python_argv

_INGEST_ORDER: Final = 10
_WORKER_ORDER: Final = 20
_ANALYTICS_ORDER: Final = 30


@dataclass(frozen=True, slots=True)
class Backends:
    """The servers behind the services; the URLs hold passwords."""

    redis_url: str = field(repr=False)
    clickhouse_url: str = field(repr=False)

    @property
    def env(self) -> dict[str, str]:
        """As the services read it."""
        return {"PLAUDIT_REDIS_URL": self.redis_url, "PLAUDIT_CLICKHOUSE_URL": self.clickhouse_url}


def ingest_spec(port: int, backends: Backends, spool: Path) -> ProcessSpec:
    """The door."""
    env = {
        "PLAUDIT_INGEST_HOST": LOOPBACK,
        "PLAUDIT_INGEST_PORT": str(port),
        "PLAUDIT_INGEST_SPOOL_DIR": str(spool),
    }
    return _spec("ingest", "ingest", partial(http_ok, port, "/health/ready"), _INGEST_ORDER, 15.0, backends.env | env)


def worker_spec(number: int, metrics_port: int, backends: Backends) -> ProcessSpec:
    """A worker; numbers start at 1."""
    env = {"PLAUDIT_METRICS_HOST": LOOPBACK, "PLAUDIT_METRICS_PORT": str(metrics_port)}
    ready = partial(http_ok, metrics_port, "/health/ready")
    # The worker's own limit for its drain is 25 s.
    return _spec(f"worker-{number}", "worker", ready, _WORKER_ORDER, 30.0, backends.env | env)


def analytics_spec(port: int, ingest_url: str, backends: Backends) -> ProcessSpec:
    """The query API and the page, which tells newcomers where to send."""
    env = {
        "PLAUDIT_ANALYTICS_HOST": LOOPBACK,
        "PLAUDIT_ANALYTICS_PORT": str(port),
        "PLAUDIT_ANALYTICS_INGEST_URL": ingest_url,
    }
    ready = partial(http_ok, port, "/health")
    return _spec("analytics", "analytics", ready, _ANALYTICS_ORDER, 5.0, backends.env | env)


def _spec(
    name: str, command: str, ready: partial[bool], stop_order: int, drain_seconds: float, env: Mapping[str, str]
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=python_argv("services.cli", command),
        ready=ready,
        env=env,
        stop_order=stop_order,
        drain_seconds=drain_seconds,
    )
