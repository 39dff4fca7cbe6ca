"""``plaudit doctor``: versions and settings of Redis and ClickHouse, and what to change about them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.table import Table

from shared.errors import MigrationError, StoreUnavailableError
from shared.migrate import available, pending
from shared.settings import ClickHouseSettings, RedisSettings
from shared.storage import EVENTS_TABLE, INSERT_SETTINGS, describe, known_settings
from shared.storage import connect as connect_clickhouse
from shared.streams import connect_to, partitions

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Level = Literal["ok", "warning", "error"]

_OLDEST_REDIS = (7, 0)
_OLDEST_CLICKHOUSE = (24, 8)


@dataclass(frozen=True, slots=True)
class Finding:
    """``advice`` says what to change; empty when all is well."""

    level: Level
    subject: str
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


async def examine(redis_settings: RedisSettings, clickhouse: ClickHouseSettings) -> list[Finding]:
    """Every check that can be made; a server that is away is a finding."""
    return [
        *await _examine_redis(redis_settings),
        *await asyncio.to_thread(lambda: list(_examine_clickhouse(clickhouse))),
    ]


async def _examine_redis(settings: RedisSettings) -> list[Finding]:
    """Of every server that holds a partition of the log: one, but in a cluster."""
    found: dict[Finding, None] = {}
    seen: set[object] = set()
    for stream in partitions(settings):
        redis = connect_to(settings, stream)
        try:
            info: dict[str, Any] = await redis.info()
            if info.get("run_id") not in seen:
                found |= dict.fromkeys([_redis_version(info), *_redis_settings(info, await _config(redis))])
            seen.add(info.get("run_id"))
        except (RedisError, OSError) as error:
            found[Finding("error", "redis", describe(error), "start it, or correct PLAUDIT_REDIS_URL")] = None
        finally:
            await redis.aclose()
    return list(found)


async def _config(redis: Redis) -> dict[str, str]:
    """Empty where the server does not tell, as managed ones do."""
    try:
        found: Any = await redis.config_get("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
    except RedisError:
        return {}
    return {str(name): str(value) for name, value in found.items()}


def _redis_version(info: dict[str, Any]) -> Finding:
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{name}_version", info.get("redis_version", "")))
    if _numbers(version) < _OLDEST_REDIS:
        advice = "7.0 or newer is needed: XAUTOCLAIM that clears deleted entries"
        return Finding("error", "redis version", f"{name} {version}", advice)
    return Finding("ok", "redis version", f"{name} {version}")


def _redis_settings(info: dict[str, Any], config: dict[str, str]) -> Iterator[Finding]:
    policy = config.get("maxmemory-policy", str(info.get("maxmemory_policy", "unknown")))
    if policy == "noeviction":
        yield Finding("ok", "redis maxmemory-policy", policy)
    else:
        advice = "set noeviction: any other policy throws acknowledged feedback away when memory is full"
        yield Finding("error", "redis maxmemory-policy", policy, advice)
    if int(info.get("maxmemory", 0)) > 0:
        yield Finding("ok", "redis maxmemory", f"{int(info['maxmemory']):,} bytes")
    else:
        advice = "set a limit below the machine's memory: a backlog must be refused at the door, not end the server"
        yield Finding("warning", "redis maxmemory", "no limit", advice)
    if info.get("aof_enabled", 0):
        fsync = config.get("appendfsync", "unknown")
        advice = "" if fsync in ("everysec", "always") else "set everysec (up to a second may be lost) or always"
        yield Finding("ok" if not advice else "warning", "redis append-only file", f"on, appendfsync {fsync}", advice)
    else:
        advice = "set appendonly yes: without it a restart of Redis loses the backlog"
        yield Finding("error", "redis append-only file", "off", advice)


def _examine_clickhouse(settings: ClickHouseSettings) -> Iterator[Finding]:
    try:
        client = connect_clickhouse(settings)
    except StoreUnavailableError as error:
        advice = "start it, correct PLAUDIT_CLICKHOUSE_URL, or run: plaudit migrate"
        yield Finding("error", "clickhouse", error.reason, advice)
        return
    try:
        yield _clickhouse_version(client)
        yield _migrations(client)
        yield from _insert_settings(client)
        yield from _deduplication_window(client)
    except ClickHouseError as error:
        yield Finding("error", "clickhouse", describe(error), "see the message")
    finally:
        client.close()


def _clickhouse_version(client: Client) -> Finding:
    version = str(client.server_version)
    if _numbers(version) < _OLDEST_CLICKHOUSE:
        return Finding("error", "clickhouse version", version, "24.8 or newer is needed")
    return Finding("ok", "clickhouse version", version)


def _migrations(client: Client) -> Finding:
    try:
        todo = pending(client, available())
    except MigrationError as error:
        return Finding(
            "error", "tables", str(error), "this database was made by another Plaudit; restore or start anew"
        )
    except ClickHouseError:
        return Finding("error", "tables", "missing", "run: plaudit migrate")
    if todo:
        names = ", ".join(migration.name for migration in todo)
        return Finding("error", "tables", f"not applied: {names}", "run: plaudit migrate")
    return Finding("ok", "tables", "up to date")


def _insert_settings(client: Client) -> Iterator[Finding]:
    """What an insert of ours really runs with, as the server sees it."""
    wanted = known_settings(client, INSERT_SETTINGS)
    rows = client.query(
        "SELECT name, value, readonly FROM system.settings WHERE name IN {names:Array(String)}",
        {"names": list(wanted)},
        settings=wanted,
    ).result_rows
    for name, value, fixed in rows:
        if value == str(wanted[name]):
            yield Finding("ok", f"clickhouse {name}", value)
        else:
            advice = f"let the writer set it to {wanted[name]}" + (": a profile forbids it" if fixed else "")
            yield Finding("error", f"clickhouse {name}", value, advice)


def _deduplication_window(client: Client) -> Iterator[Finding]:
    rows = client.query(
        "SELECT extract(create_table_query, 'non_replicated_deduplication_window = (\\\\d+)') FROM system.tables "
        "WHERE database = currentDatabase() AND name = {name:String}",
        {"name": EVENTS_TABLE},
    ).result_rows
    window = rows[0][0] if rows else ""
    if window not in ("", "0"):
        advice = "reset it: after a kill it drops whole inserts as duplicates of parts that do not exist"
        yield Finding("error", "clickhouse non_replicated_deduplication_window", window, advice)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def render(findings: list[Finding]) -> Table:
    """For a terminal."""
    colours = {"ok": "green", "warning": "yellow", "error": "red"}
    table = Table("", "what", "found", "what to change")
    for finding in findings:
        table.add_row(f"[{colours[finding.level]}]{finding.level}[/]", finding.subject, finding.found, finding.advice)
    return table
