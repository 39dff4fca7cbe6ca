"""Every setting of every service, once: name, default, unit and the reason for the default.

Settings come from the environment. A field ``redis_url`` is ``PLAUDIT_REDIS_URL``.
``plaudit <service> --help`` prints these tables; a bad value is reported with its own name,
and all bad values are reported at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, UrlConstraints, model_validator
from pydantic_core import Url
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "PLAUDIT_"

RedisUrl = Annotated[Url, UrlConstraints(allowed_schemes=["redis", "rediss"])]
HttpUrl = Annotated[Url, UrlConstraints(allowed_schemes=["http", "https"])]

KIB = 1024
MIB = 1024 * KIB


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)


class RedisSettings(_Settings):
    """The log: where the streams, the caches and the windows live."""

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis or Valkey, 7.0 or newer. A secret, since it may hold a password.",
    )
    redis_timeout: float = Field(
        5.0, gt=0, description="Seconds for one reply. Longer than any healthy Redis takes, appendfsync included."
    )
    stream_name: str = Field(
        "plaudit:feedback",
        min_length=1,
        description="First part of the stream names; partition i is `<name>:{i}`, its own hash slot.",
    )
    stream_partitions: int = Field(
        1, ge=1, le=256, description="Streams to spread over. One is enough for a single Redis; more serve a cluster."
    )
    consumer_group: str = Field("plaudit-workers", min_length=1, description="Consumer group of the workers.")


class ClickHouseSettings(_Settings):
    """Where the events are kept, and the durable home of keys."""

    clickhouse_url: SecretStr = Field(
        SecretStr("http://default:@127.0.0.1:8123/plaudit"),
        description="http(s)://user:password@host:port/database. A secret, since it holds a password.",
    )
    clickhouse_connect_timeout: float = Field(5.0, gt=0, description="Seconds to open a connection.")
    clickhouse_timeout: float = Field(
        60.0, gt=0, description="Seconds for one statement. An insert of the largest batch takes well under one."
    )


class TelemetrySettings(_Settings):
    """Logs and metrics of any process."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is written. No payload text at info or above."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, JSON otherwise."
    )


class KeySettings(_Settings):
    """How long a process may trust what it knows of the API keys."""

    keys_refresh: float = Field(
        5.0, gt=0, le=10, description="Seconds between reloads of the keys. A revoked key stops within 10 s everywhere."
    )


class IngestSettings(_Settings):
    """The door."""

    ingest_host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    ingest_port: int = Field(8080, ge=0, le=65535, description="Port of the door; 0 picks a free one.")
    ingest_body_limit_langwatch: int = Field(
        1 * MIB, gt=0, description="Bytes of one LangWatch request; more is 413. LangWatch itself has no limit."
    )
    ingest_body_limit_lunary: int = Field(
        20 * MIB, gt=0, description="Bytes of one Lunary request after decompression; more is 413. Lunary's own limit."
    )
    ingest_part_bytes: int = Field(
        512 * KIB,
        gt=0,
        description="Bytes of events in one stream entry; larger requests travel as several entries in one MULTI.",
    )
    ingest_append_batch: int = Field(
        500, ge=1, description="Most appends in one pipeline. Concurrent requests share a round trip up to this."
    )
    ingest_append_queue: int = Field(
        20_000, ge=1, description="Most requests waiting for Redis; beyond it 503 at once, so that memory is bounded."
    )
    ingest_append_timeout: float = Field(
        10.0, gt=0, description="Seconds for one group of appends; then its requests are answered 503."
    )
    ingest_append_queue_bytes: int = Field(
        128 * MIB, gt=0, description="Bytes of events waiting for Redis; beyond it 503 at once: memory is bounded."
    )
    ingest_append_lanes: int = Field(
        2, ge=1, le=16, description="Groups of appends on their way at once: the next fills while one is answered."
    )
    ingest_events_limit: int = Field(
        100_000, ge=1, le=2**20, description="Events of one Lunary request; more is 413. An SDK's burst has hundreds."
    )
    ingest_body_timeout: float = Field(
        30.0, gt=0, description="Seconds for a request's body to arrive; then 408, so that slow senders hold nothing."
    )
    ingest_keep_alive: float = Field(
        75.0, ge=1, description="Seconds an idle connection stays open; above the 60 s of common load balancers."
    )
    ingest_connections: int = Field(
        10_000, ge=1, description="Connections at once; beyond it the server answers 503 itself."
    )
    ingest_drain_timeout: float = Field(
        20.0, gt=0, description="Seconds that requests in flight get on SIGTERM; below the 30 s that Kubernetes grants."
    )
    ingest_drain_delay: float = Field(
        0.0, ge=0, description="Seconds of red /health/ready before closing; set to what your balancer needs to notice."
    )
    ingest_rate_limit: float = Field(
        0.0,
        ge=0,
        description="Requests a second of one project, by process; more is 429. 0: no limit, since SDKs "
        "drop what is refused.",
    )
    ingest_rate_burst: float = Field(
        10.0, ge=1, description="Seconds' worth of requests that a project may save up under the rate limit."
    )
    ingest_retry_after: int = Field(
        2, ge=1, le=5, description="Seconds in the Retry-After of a 503: time for a Redis to fail over."
    )
    ingest_reader_clients: int = Field(
        3, ge=1, le=32, description="ClickHouse connections for reading a run's feedback back."
    )
    ingest_reader_timeout: float = Field(
        3.0, gt=0, description="Seconds for reading a run's feedback back; then 503, for that route alone."
    )


class WorkerSettings(_Settings):
    """The way from the stream into ClickHouse."""

    worker_batch_rows: int = Field(
        20_000, ge=1, description="Rows that complete a batch. ClickHouse likes 10,000 to 100,000 an insert."
    )
    worker_batch_bytes: int = Field(
        16 * MIB, ge=1, description="Bytes of stream entries that complete a batch, so that memory is bounded."
    )
    worker_batch_age: float = Field(
        0.5, gt=0, description="Seconds after which a batch is inserted however small: the delay people see."
    )
    worker_batches_in_flight: int = Field(
        2, ge=1, description="Batches being inserted while the next one builds up; reading pauses beyond it."
    )
    worker_read_count: int = Field(1_000, ge=1, description="Most stream entries in one read; 5,000 was slower.")
    worker_read_bytes: int = Field(
        8 * MIB, ge=1, description="Bytes aimed at in one read: the count adapts to the size of recent entries."
    )
    worker_read_block: float = Field(
        1.0, gt=0, description="Seconds a read waits for new entries; bounds how long a stop takes."
    )
    worker_drain_timeout: float = Field(
        25.0, gt=0, description="Seconds to flush on SIGTERM; below the 30 s that Kubernetes grants."
    )
    worker_retry_base: float = Field(
        0.2, gt=0, description="Seconds before the first retry of an insert; doubles, with full jitter."
    )
    worker_retry_cap: float = Field(15.0, gt=0, description="Seconds between retries at most.")
    worker_claim_idle: float = Field(
        15.0,
        gt=0,
        description="Seconds after which an entry that nobody renewed is claimed from its consumer: how long what a "
        "killed worker held waits. Longer than the pauses of a healthy worker; claiming too early costs only work.",
    )
    worker_claim_count: int = Field(500, ge=1, description="Entries in one claim; one by one took 26 times as long.")
    worker_max_deliveries: int = Field(
        5, ge=1, description="Deliveries after which an entry is suspected of killing workers and processed alone."
    )
    worker_consumer_ttl: float = Field(
        3600.0, gt=0, description="Seconds after which a silent consumer with nothing pending is removed."
    )
    worker_window: int = Field(
        3600,
        ge=0,
        description="Seconds that a finished request is remembered, to skip redeliveries; 0 switches it off.",
    )
    worker_window_capacity: int = Field(
        4_000_000, ge=1, description="Requests remembered at most, about 72 bytes of Redis each; the oldest go first."
    )
    dead_letters_capacity: int = Field(
        100_000, ge=1, description="Dead letters kept at most; what does not fit stays pending in the log."
    )
    metrics_host: str = Field("127.0.0.1", description="Address of the worker's health and metrics port.")
    metrics_port: int = Field(
        9464, ge=0, le=65535, description="Port of the worker's /health and /metrics; 0 picks a free one."
    )

    @model_validator(mode="after")
    def _caps_above_bases(self) -> WorkerSettings:
        if self.worker_retry_cap < self.worker_retry_base:
            raise ValueError("PLAUDIT_WORKER_RETRY_CAP must not be below PLAUDIT_WORKER_RETRY_BASE")
        return self


class AnalyticsSettings(_Settings):
    """The reading side."""

    analytics_host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    analytics_port: int = Field(8081, ge=0, le=65535, description="Port of the query API and the page; 0 picks one.")


class SpoolSettings(_Settings):
    """Intake through a Redis outage."""

    ingest_spool_dir: Path | None = Field(
        None, description="Folder of the spool; unset: no spool, requests are answered 503 while Redis is away."
    )
