"""``plaudit status``: the pipeline's state in one look."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError
from rich.table import Table

from shared.dead_letters import DeadLetterBox
from shared.errors import StoreUnavailableError
from shared.settings import ClickHouseSettings, RedisSettings
from shared.storage import connect as connect_clickhouse
from shared.storage import describe
from shared.streams import backlog, partitions
from shared.streams import connect as connect_redis


@dataclass(frozen=True, slots=True)
class Status:
    """Counts, and seconds. None where the server did not answer; then ``problems`` says why.

    backlog: entries in the log, those that workers hold included.
    pending: entries that workers hold.
    oldest_seconds: age of the oldest entry that is not done; None also when there is none.
    newest_event_seconds: time since the latest receipt that is visible in ClickHouse.
    """

    backlog: int | None
    pending: int | None
    consumers: int | None
    oldest_seconds: float | None
    dead_letters: int | None
    newest_event_seconds: float | None
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


async def take_status(redis_settings: RedisSettings, clickhouse: ClickHouseSettings) -> Status:
    """Never raises for a server that is away: half a status is better than none."""
    redis = connect_redis(redis_settings)
    problems: list[str] = []
    log = letters = None
    try:
        log = await backlog(redis, partitions(redis_settings), redis_settings.consumer_group)
        letters = await DeadLetterBox(redis).count()
    except (RedisError, OSError) as error:
        problems.append(f"redis: {describe(error)}")
    finally:
        await redis.aclose()
    newest = None
    try:
        newest = await asyncio.to_thread(_newest_receipt, clickhouse)
    except (StoreUnavailableError, ClickHouseError, OSError) as error:
        problems.append(f"clickhouse: {describe(error)}")
    return Status(
        backlog=log.length if log else None,
        pending=log.pending if log else None,
        consumers=log.consumers if log else None,
        oldest_seconds=time.time() - log.oldest / 1000 if log and log.oldest is not None else None,
        dead_letters=letters,
        newest_event_seconds=time.time() - newest if newest is not None else None,
        problems=tuple(problems),
    )


def _newest_receipt(settings: ClickHouseSettings) -> float | None:
    client = connect_clickhouse(settings)
    try:
        # Of recent partitions only: the latest receipt is in a part that was written last.
        rows = client.query("SELECT count(), toUnixTimestamp64Micro(max(received_at)) FROM feedback_events").result_rows
    finally:
        client.close()
    count, micros = rows[0]
    return micros / 1e6 if count else None


def render(status: Status) -> Table:
    """For a terminal."""
    table = Table(show_header=False, box=None)
    for label, value in (
        ("backlog", _shown(status.backlog)),
        ("  in workers' hands", _shown(status.pending)),
        ("workers", _shown(status.consumers)),
        (
            "oldest unprocessed",
            _seconds(status.oldest_seconds, "unknown" if status.backlog is None else "nothing waits"),
        ),
        ("dead letters", _shown(status.dead_letters)),
        ("newest event in ClickHouse", _seconds(status.newest_event_seconds, "none known")),
    ):
        table.add_row(label, value)
    for problem in status.problems:
        table.add_row("[red]problem[/red]", problem)
    return table


def _shown(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _seconds(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:,.1f} s ago"
