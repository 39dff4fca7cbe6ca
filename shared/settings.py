"""Every setting of every service, once: name, default, unit and the reason for the default.

Settings come from the environment. A field ``redis_url`` is ``PLAUDIT_REDIS_URL``.
``plaudit <service> --help`` prints these tables; a bad value is reported with its own name,
and all bad values are reported at once.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, UrlConstraints, field_validator, model_validator
from pydantic_core import Url
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "PLAUDIT_"

RedisUrl = Annotated[Url, UrlConstraints(allowed_schemes=["redis", "rediss"])]
HttpUrl = Annotated[Url, UrlConstraints(allowed_schemes=["http", "https"])]

KIB = 1024
MIB = 1024 * KIB


class _Settings(BaseSettings):
    # A variable that is set to nothing is not set: an empty PLAUDIT_INGEST_SPOOL_DIR is no folder, least of all ours.
    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)


class RedisSettings(_Settings):
    """The log: where the streams, the caches, the windows and the dead letters live."""

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis or Valkey, 7.0 or newer: redis://…, redis+sentinel://one,two/mymaster or "
        "redis+cluster://one,two; rediss with TLS. A secret, since it may hold a password.",
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
    dead_letters_capacity: int = Field(
        100_000, ge=1, description="Dead letters kept at most; what does not fit stays pending in the log."
    )
    dead_letters_bytes: int = Field(
        256 * MIB,
        ge=1,
        description="Bytes of Redis that dead letters take at most, of which the same holds; well below the share of "
        "maxmemory at which the door refuses.",
    )


class ClickHouseSettings(_Settings):
    """Where the events are kept, and the durable home of keys."""

    clickhouse_url: SecretStr = Field(
        SecretStr("http://default:@127.0.0.1:8123/plaudit"),
        description="http(s)://user:password@host:port/database. Several hosts, with commas between, are tried in this "
        "order. A secret, since it holds a password.",
    )
    clickhouse_cluster: str = Field(
        "",
        pattern=r"^[\w.-]*$",
        description="Name of the cluster in ClickHouse's remote_servers, for `plaudit migrate`: tables are made "
        "replicated and sharded on all its nodes. Empty: one node.",
    )
    clickhouse_connect_timeout: float = Field(5.0, gt=0, description="Seconds to open a connection.")
    clickhouse_timeout: float = Field(
        60.0, gt=0, description="Seconds for one statement. An insert of the largest batch takes well under one."
    )
    clickhouse_compression: Literal["auto", "on", "off"] = Field(
        "auto", description="Of what is sent and answered; auto: not on loopback, where it only costs time."
    )


class TelemetrySettings(_Settings):
    """Logs and metrics of any process."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is written. No payload text at info or above."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, JSON otherwise."
    )


class TracingSettings(_Settings):
    """Our own traces, by OpenTelemetry. Not those of LLM calls that pass the door: see TraceSettings."""

    otel_tracing: bool = Field(
        False,
        description="Send OpenTelemetry traces, as OpenTelemetry's own variables say; needs the extra `otel`, which "
        "the image has. Off: no request and no event pays anything for it.",
    )
    otel_forced_rate: float = Field(
        10.0,
        ge=0,
        description="Requests a second, by process, that are traced because their sender says so (a sampled "
        "`traceparent` under a parentbased sampler). Beyond it the door decides as if nobody had said anything: its "
        "senders are strangers. 0: they decide nothing.",
    )
    otel_flush_timeout: float = Field(
        2.0, gt=0, description="Seconds at the end of the process for spans that wait; what is left then is dropped."
    )


class OpenTelemetrySettings(BaseSettings):
    """OpenTelemetry's own variables, as far as we decide by them; its library reads the others itself (endpoint of
    traces alone, headers, timeout, compression, certificates, OTEL_BSP_*). Read only where tracing is on, so that
    what a cluster sets for everyone does no harm where it is off.
    """

    model_config = SettingsConfigDict(env_prefix="OTEL_", env_ignore_empty=True, extra="ignore", frozen=True)

    sdk_disabled: bool = Field(False, description="Switches tracing off all the same.")
    service_name: str = Field("", description="Unset: plaudit-ingest, plaudit-worker.")
    exporter_otlp_endpoint: HttpUrl = Field(
        Url("http://localhost:4318"), description="The collector; /v1/traces is added."
    )
    exporter_otlp_headers: SecretStr = Field(
        SecretStr(""), description="name=value, with commas between; credentials for the collector."
    )
    exporter_otlp_traces_headers: SecretStr = Field(SecretStr(""), description="The same, in its place.")
    exporter_otlp_protocol: Literal["http/protobuf"] = Field("http/protobuf", description="The only one spoken here.")
    traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = Field(
        "parentbased_always_on",
        description="Which requests a door traces; workers go by what the door decided. The default is OpenTelemetry's "
        "and traces all of them: parentbased_traceidratio is for production.",
    )
    traces_sampler_arg: float = Field(1.0, ge=0, le=1, description="Share of the requests, for the ratio samplers.")
    bsp_max_queue_size: int = Field(
        2048, ge=1, description="Spans that may wait for the collector; more are dropped, counted."
    )
    bsp_max_export_batch_size: int = Field(512, ge=1, description="Spans in one request to the collector.")

    @field_validator("exporter_otlp_headers", "exporter_otlp_traces_headers")
    @classmethod
    def _names_and_values(cls, headers: SecretStr) -> SecretStr:
        for header in headers.get_secret_value().split(","):
            name, separator, _ = header.partition("=")
            if header.strip() and not (name.strip() and separator):
                raise ValueError("headers are name=value, with commas between")
        return headers

    @model_validator(mode="after")
    def _batches_fit_the_queue(self) -> OpenTelemetrySettings:
        if self.bsp_max_export_batch_size > self.bsp_max_queue_size:
            raise ValueError("OTEL_BSP_MAX_EXPORT_BATCH_SIZE must not be above OTEL_BSP_MAX_QUEUE_SIZE")
        return self

    @property
    def parent_based(self) -> bool:
        """Whether the sender of a request has a say."""
        return self.traces_sampler.startswith("parentbased_")

    @property
    def share(self) -> float:
        """Of requests on which nobody else has decided, the share that is traced; 0 to 1."""
        match self.traces_sampler.removeprefix("parentbased_"):
            case "always_on":
                return 1.0
            case "always_off":
                return 0.0
        return self.traces_sampler_arg


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
    ingest_body_limit_otlp: int = Field(
        10 * MIB, gt=0, description="Bytes of one request of traces, packed and unpacked; more is 413. LangWatch's own."
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
        30.0,
        gt=0,
        description="Seconds for a request's body to arrive, then 408; and for its head, then the connection is "
        "closed: slow senders hold nothing.",
    )
    ingest_bodies_bytes: int = Field(
        128 * MIB,
        gt=0,
        description="Bytes of large bodies in hand, of all requests together; beyond it 503, so that memory is "
        "bounded.",
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
    ingest_durability: Literal["acknowledged", "fsynced", "replicated"] = Field(
        "acknowledged",
        description="What a 200 means: Redis acknowledged; or its file is synced (needs appendfsync always); or as "
        "many replicas have it as PLAUDIT_INGEST_REPLICAS says.",
    )
    ingest_replicas: int = Field(1, ge=1, description="Replicas that must have an append under `replicated`.")
    ingest_replica_timeout: float = Field(
        1.0, gt=0, description="Seconds to wait for replicas; fewer by then is a 503."
    )
    ingest_backlog_limit: int = Field(
        10_000_000, ge=0, description="Entries in the log at which requests are refused; 0: only memory and age count."
    )
    ingest_memory_limit: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Share of Redis's maxmemory at which requests are refused: before Redis is full, so that workers "
        "can still drain. 0 switches it off.",
    )
    ingest_age_limit: float = Field(
        0.0, ge=0, description="Seconds of the oldest entry at which requests are refused; 0: late is better than lost."
    )
    ingest_resume_share: float = Field(
        0.9, gt=0, lt=1, description="Share of a limit below which requests are taken again."
    )
    ingest_warn_share: float = Field(
        0.75,
        gt=0,
        lt=1,
        description="Share of a limit above which /health/ready tells a load balancer to look elsewhere.",
    )
    ingest_spool_dir: Path | None = Field(
        None,
        description="Folder for what Redis does not take; unset: such requests are answered 503. Each process has a "
        "locked folder in it, and adopts those of processes that are gone.",
    )
    ingest_spool_bytes: int = Field(
        1024 * MIB, gt=0, description="Bytes of the spool of one process; a full spool answers 503."
    )
    ingest_reader_clients: int = Field(
        3, ge=1, le=32, description="ClickHouse connections for reading a run's feedback back."
    )
    ingest_reader_timeout: float = Field(
        3.0,
        gt=0,
        description="Seconds for reading a run's feedback, or the keys, from ClickHouse; then 503 to whom it needs.",
    )

    @model_validator(mode="after")
    def _room_for_any_body(self) -> IngestSettings:
        limits = (self.ingest_body_limit_langwatch, self.ingest_body_limit_lunary, self.ingest_body_limit_otlp)
        if self.ingest_bodies_bytes < max(limits):
            raise ValueError("PLAUDIT_INGEST_BODIES_BYTES must not be below any PLAUDIT_INGEST_BODY_LIMIT")
        return self


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
    analytics_public_url: HttpUrl | None = Field(
        None, description="Where people open the page, if not here; https makes the session cookie Secure."
    )
    analytics_ingest_url: HttpUrl | None = Field(
        None, description="Where clients send feedback; the empty page shows it. Unset: the page's host, port 8080."
    )
    analytics_session_secret: SecretStr | None = Field(
        None,
        description="Signs the session cookies; the same for all analytics processes. Unset: made from the password of "
        "ClickHouse, which they share; where there is none, sessions end with the process.",
    )
    analytics_session_hours: float = Field(
        24 * 14.0, gt=0, description="Hours until a session ends; a revoked key ends it within 10 s."
    )
    analytics_refresh: bool = Field(
        True, description="Keep the derived tables up in here; one process at a time does. Or run plaudit refresh."
    )
    analytics_refresh_interval: float = Field(
        1.0, gt=0, le=60, description="Seconds between refreshes: with the workers' half second, the delay people see."
    )
    analytics_query_timeout: float = Field(
        20.0, gt=0, description="Seconds for one query; then the answer says what to narrow."
    )
    analytics_query_memory: int = Field(
        1024 * MIB, gt=0, description="Bytes that ClickHouse may take for one query; then the same."
    )
    analytics_queries: int = Field(
        6, ge=1, description="Queries of one process at once; the others wait, up to the query timeout."
    )
    analytics_tails: int = Field(100, ge=1, description="Live tails of one process at once; more are answered 503.")
    analytics_parquet_rows: int = Field(
        1_000_000, ge=1, description="Events of one Parquet export; NDJSON and CSV have no limit."
    )


class RetentionSettings(_Settings):
    """How long feedback is kept. ``plaudit migrate`` applies it; ClickHouse deletes while it merges."""

    retention_days: int = Field(
        400, ge=1, description="Days after its receipt that an event is kept: a year and its comparison month."
    )
    retention_raw_days: int = Field(
        30, ge=1, description="Days that the client's own JSON is kept; then only what was read from it."
    )


class TraceSettings(_Settings):
    """What is learnt of traces from the runs and spans that pass the door."""

    trace_learning: bool = Field(
        True,
        description="Keep a slim record of each trace that passes (model, prompt, version, user; no text) to break "
        "feedback down by, and learn which ids are one trace.",
    )
    trace_metadata: str = Field(
        "environment,release",
        description="Keys of the clients' metadata that may be kept, with commas between; none of the others are.",
    )
    trace_known: int = Field(
        100_000, ge=1, description="Records that a door remembers, so as not to append them again; about 1 kB each."
    )
    trace_waiting: int = Field(
        20_000, ge=1, description="Records that may wait for the log; more are dropped, counted."
    )
    trace_pause: float = Field(
        1.0, gt=0, description="Seconds between appends of what was learnt: how much of it a crash may cost."
    )

    @property
    def metadata_names(self) -> tuple[str, ...]:
        return tuple(name for part in self.trace_metadata.split(",") if (name := part.strip()))


class RelaySettings(_Settings):
    """In front of the vendors: what Plaudit answers also goes on to them, what it does not own is proxied there."""

    langwatch_upstream: HttpUrl | None = Field(
        None, description="LangWatch's own API, such as https://app.langwatch.ai; unset: nothing goes there."
    )
    lunary_upstream: HttpUrl | None = Field(
        None, description="Lunary's own API, such as https://api.lunary.ai; unset: nothing goes there."
    )
    relay_ca_file: Path | None = Field(
        None,
        description="PEM file of authorities that may have signed an upstream's certificate, besides the system's: for "
        "a vendor's product behind a private one. Read at the start.",
    )
    relay_feedback: bool = Field(
        True, description="Whether feedback goes on too; false cuts it out of what is relayed, the rest goes on."
    )
    relay_forwarded_for: bool = Field(
        True,
        description="Add the client's address as X-Forwarded-For: vendors limit requests by client, and without it all "
        "of your clients are one.",
    )
    relay_queue_bytes: int = Field(
        64 * MIB,
        gt=0,
        description="Bytes that may wait for one vendor, by process; what comes then is dropped, counted.",
    )
    relay_queue_age: float = Field(
        300.0, gt=0, description="Seconds that a request may wait for a vendor; then it is dropped, counted."
    )
    relay_connections: int = Field(
        64,
        ge=1,
        le=1024,
        description="Connections to one vendor, by process: requests of the relay on their way at once. Divided by the "
        "seconds that an answer takes, this is what it can relay a second.",
    )
    relay_timeout: float = Field(
        15.0, gt=0, description="Seconds for a vendor's answer to a relayed request. Lunary may take 5 for one event."
    )
    relay_connect_timeout: float = Field(5.0, gt=0, description="Seconds to open a connection to a vendor.")
    relay_idle: float = Field(
        3.0,
        gt=0,
        description="Seconds after which an idle connection is not used again: below the 5 s after which Node's "
        "servers close, since a request that meets the close may not be sent twice.",
    )
    relay_tries: int = Field(
        6,
        ge=1,
        description="Times that a request is offered to a vendor that did not take it (no connection, 429, 503).",
    )
    relay_retry_base: float = Field(
        0.5, gt=0, description="Seconds before the second try; doubles, with jitter. A vendor's Retry-After goes first."
    )
    relay_retry_cap: float = Field(60.0, gt=0, description="Seconds between two tries at most.")
    relay_breaker_failures: int = Field(
        5, ge=1, description="Failures in a row after which a vendor is left alone for a while."
    )
    relay_breaker_cap: float = Field(
        30.0, gt=0, description="Seconds at most that it is left alone before one request tries; from 1, doubling."
    )
    relay_drain: float = Field(
        4.0,
        ge=0,
        description="Seconds on SIGTERM to send what waits, after the drain of requests; within Kubernetes' 30.",
    )
    proxy_connections: int = Field(
        100, ge=1, description="Proxied requests to one vendor at once, by process; more are answered 503."
    )
    proxy_body_limit: int = Field(
        100 * MIB, gt=0, description="Bytes of one proxied request; more is 413. They stream: memory does not grow."
    )
    proxy_timeout: float = Field(
        120.0, gt=0, description="Seconds without a byte from the vendor after which a proxied request is given up."
    )

    @field_validator("langwatch_upstream", "lunary_upstream")
    @classmethod
    def _only_where(cls, url: Url | None) -> Url | None:
        if url is not None and (url.username or url.password or url.query or url.fragment):
            raise ValueError("an upstream is scheme, host, port and path; credentials are the clients' own")
        return url

    @field_validator("relay_ca_file")
    @classmethod
    def _holds_authorities(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:
                raise ValueError(f"no certificates can be read from {path}: {error.strerror}") from error
        return path
