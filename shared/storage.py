"""ClickHouse: connecting, the columns of ``feedback_events``, and the settings that every insert pins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from shared.errors import StoreUnavailableError
from shared.events import COLUMNS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from shared.settings import ClickHouseSettings

EVENTS_TABLE = "feedback_events"

COLUMN_TYPES = {
    "project_id": "LowCardinality(String)",
    "source": "LowCardinality(String)",
    "trace_id": "String",
    "dedupe_id": "UInt128",
    "key_time": "DateTime64(6, 'UTC')",
    "event_type": "LowCardinality(String)",
    "timestamp": "DateTime64(6, 'UTC')",
    "time_status": "Enum8('client' = 0, 'none' = 1, 'past' = 2, 'ahead' = 3, 'out_of_range' = 4)",
    "received_at": "DateTime64(6, 'UTC')",
    "version": "UInt128",
    "vote": "Nullable(Float64)",
    "comment": "Nullable(String)",
    "metrics": "Map(LowCardinality(String), Float64)",
    "details": "Map(LowCardinality(String), Nullable(String))",
    "user_id": "Nullable(String)",
    "thread_id": "Nullable(String)",
    "event_id": "Nullable(String)",
    "request_id": "UUID",
    "event_index": "UInt32",
    "entry_id": "String",
    "raw": "String",
    "replayed": "Bool",
}
"""Given with every insert, so that the client need not ask the server. A test compares them with the table."""

if tuple(COLUMN_TYPES) != COLUMNS:  # pragma: no cover
    raise ImportError("the fields of FeedbackEvent and the columns of feedback_events have come apart")

INSERT_SETTINGS: dict[str, str | int] = {
    # Acknowledged means in the table, not in the server's memory.
    "async_insert": 0,
    # No deduplication by token or block: the token is written before the part, so that after a kill in between
    # the retry is "deduplicated" against a part that does not exist. The sorting key judges what is a duplicate.
    "insert_deduplicate": 0,
    "deduplicate_insert": "disable",
    "deduplicate_blocks_in_dependent_materialized_views": 0,
    # In a cluster: acknowledged means on the shards, not in a queue of the node that was spoken to.
    "distributed_foreground_insert": 1,
}


def connect(settings: ClickHouseSettings, *, with_database: bool = True) -> Client:
    """A client of its own; clients serialise their calls, so each task or thread takes its own.

    Raises StoreUnavailableError when the server does not answer or does not let us in.
    """
    failure: Exception = OSError("the URL names no host")
    for place in endpoints(settings):
        try:
            return clickhouse_connect.get_client(
                host=place.host,
                port=place.port,
                username=place.username,
                password=place.password,
                database=database_name(settings) if with_database else None,
                secure=place.secure,
                compress=compresses(settings, place.host),
                connect_timeout=settings.clickhouse_connect_timeout,
                send_receive_timeout=settings.clickhouse_timeout,
                autogenerate_session_id=False,
                query_limit=0,
            )
        except (ClickHouseError, OSError) as error:
            failure = error
    raise StoreUnavailableError("clickhouse", describe(failure)) from failure


class Endpoint(NamedTuple):
    """Where a server is, and as whom."""

    host: str
    port: int
    username: str
    password: str
    secure: bool


def endpoints(settings: ClickHouseSettings) -> list[Endpoint]:
    """The servers of the URL in the order in which they are tried: ``http://user:password@one:8123,two:8123/name``."""
    url = urlsplit(settings.clickhouse_url.get_secret_value())
    secure = url.scheme == "https"
    credentials, _, hosts = url.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    found = [urlsplit(f"//{host}") for host in hosts.split(",")]
    return [
        Endpoint(
            place.hostname or "127.0.0.1",
            place.port or (8443 if secure else 8123),
            unquote(username) or "default",
            unquote(password),
            secure,
        )
        for place in found
    ]


def compresses(settings: ClickHouseSettings, host: str) -> bool:
    """Whether to compress what goes to and comes from ``host``."""
    if settings.clickhouse_compression != "auto":
        return settings.clickhouse_compression == "on"
    return host not in ("127.0.0.1", "localhost", "::1")


def database_name(settings: ClickHouseSettings) -> str:
    path = urlsplit(settings.clickhouse_url.get_secret_value()).path
    return unquote(path.removeprefix("/")) or "default"


def known_settings(client: Client, wanted: dict[str, Any]) -> dict[str, Any]:
    """Those of ``wanted`` that this server has: older ones lack what they do not need to be told."""
    return {name: value for name, value in wanted.items() if name in client.server_settings}


def describe(error: BaseException) -> str:
    """The first line of an error, for logs. ClickHouse's errors may quote data further down."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
