"""On a sharded cluster the ids of a trace may lie on different shards; what is said of the trace is the same.

One engine in a process of its own plays the whole cluster: both shards are itself, and what each of them shows is the
rows that the sharding key gives it. The statements are those of ``plaudit migrate`` for a cluster, but for ON CLUSTER.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

PLAYED = Path(__file__).with_name("sharded_engine.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cluster")
    done = subprocess.run([sys.executable, PLAYED, folder], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_ids_of_one_trace_do_lie_on_different_shards(told: dict[str, Any]) -> None:
    assert told["apart"] > 10
    assert 0 < told["rows_of_first_shard"] < told["rows"]


@pytest.mark.parametrize("view", ["feedback_current", "traces", "feedback_of"])
def test_a_view_says_the_same_as_on_one_node(told: dict[str, Any], view: str) -> None:
    assert told[view]["one node"]
    assert told[view]["cluster"] == told[view]["one node"]


def test_views_of_single_shards_would_not_do(told: dict[str, Any]) -> None:
    """Or the tests above could not fail."""
    assert told["shard by shard"] != told["feedback_current"]["one node"]


def test_the_queries_of_the_services_say_the_same_as_on_one_node(told: dict[str, Any]) -> None:
    for name in ("ids", "places", "refresh"):
        assert told[name]["one node"], name
        assert told[name]["cluster"] == told[name]["one node"], name
