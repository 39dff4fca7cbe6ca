"""A failover by real Sentinels under load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from shared.settings import ClickHouseSettings, RedisSettings
from shared.topology import Topology

from .conftest import SentinelServer, Server, wait_for
from .pipeline import FAULTS, pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

Watched = tuple[list[Server], list[SentinelServer]]


def url(watchers: list[SentinelServer]) -> str:
    return "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in watchers) + "/feedback/0"


def test_urls_are_read_in_all_three_forms() -> None:
    sentinel = Topology.of(RedisSettings.model_validate({"redis_url": "rediss+sentinel://:p%40w@one,two:7/main/3"}))
    assert (sentinel.kind, sentinel.hosts) == ("sentinel", (("one", 26379), ("two", 7)))
    assert (sentinel.password, sentinel.service, sentinel.db, sentinel.tls) == ("p@w", "main", 3, True)
    cluster = Topology.of(RedisSettings.model_validate({"redis_url": "redis+cluster://me:x@one:7000"}))
    assert (cluster.kind, cluster.hosts, cluster.username, cluster.tls) == ("cluster", (("one", 7000),), "me", False)
    assert Topology.of(RedisSettings()).kind == "single"
    assert "p@w" not in repr(sentinel)


def test_replicated_acknowledgements_survive_a_failover(
    sentinels: Watched, database: ClickHouseSettings, tmp_path: Path
) -> None:
    servers, watchers = sentinels
    env = {"PLAUDIT_INGEST_DURABILITY": "replicated", "PLAUDIT_INGEST_REPLICAS": "1"}
    with pipeline(tmp_path, database, url(watchers), env) as running:
        load = running.load(5_000, 500)
        time.sleep(3)
        servers[0].kill()
        wait_for(lambda: servers[1].ask("INFO", "replication")["role"] == "master", "the replica to take over", 30)
        # The new master needs a replica before it may acknowledge anything in this mode.
        servers[0].start()
        wait_for(lambda: servers[1].ask("INFO", "replication")["connected_slaves"] == 1, "the old master to follow", 40)
        load.wait(150)
        report = running.verdict()
        verified = report["verified"]
        assert {name: verified[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0), running.logs()
        assert verified["accepted"] > 1_000
        assert report["sent"]["statuses"].get("503", 0) > 0


def test_intake_goes_on_by_itself_after_a_failover_and_little_is_lost(
    sentinels: Watched, database: ClickHouseSettings, tmp_path: Path
) -> None:
    """With plain acknowledgements the last moments may be lost: replication is asynchronous. Nothing else may be."""
    servers, watchers = sentinels
    with pipeline(tmp_path, database, url(watchers), {}) as running:
        load = running.load(6_000, 500)
        time.sleep(3)
        servers[0].kill()
        load.wait(150)
        report = running.verdict()
        verified = report["verified"]
        assert {name: verified[name] for name in FAULTS if name not in {"lost", "current_wrong"}} == {
            "twice": 0,
            "wrong": 0,
            "unexpected": 0,
        }, running.logs()
        assert verified["lost"] < 100, verified["lost"]
        # It took up work again: more was accepted than could have been before the failover.
        assert verified["accepted"] > 2_500
