"""The bench compares like with like: on its data set, the product's tables and the ideal ones give the same answers."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from bench import queries
from bench.feedback_data import PROJECTS
from services.analytics.listing import Page
from services.analytics.main import connect_async
from services.analytics.warehouse import Warehouse

from .conftest import Store

pytestmark = pytest.mark.integration


async def test_both_sides_of_every_ratio_give_the_same_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO())
    queries.build(store.client, 8_000, 1, console)
    queries.build(store.client, 8_000, 1, console)
    queries.derive(store.client, console)
    distinct = store.client.query("SELECT uniqExact(dedupe_id), count() FROM feedback_events").result_rows[0]
    kept = store.client.query("SELECT count() FROM ideal_events").result_rows[0][0]
    assert kept == distinct[0] < distinct[1], "the data set has deliveries that came again"
    ours = Warehouse(lambda: connect_async(store.settings, 60.0), concurrency=4, timeout=60.0, memory=1 << 30)
    ideal = queries.IdealWarehouse(
        lambda: connect_async(store.settings, 60.0), concurrency=4, timeout=60.0, memory=1 << 30
    )
    for project in PROJECTS:
        rows = store.client.query(_RETOLD, {"p": project}).result_rows
        assert len(rows) == 3
        for trace in (row[0] for row in rows):
            asked = {}
            for name, _, question, ideal_question in queries.questions([trace]):
                asked[name] = told(await question(ours, project))
                assert asked[name], (project, name)
                assert asked[name] == told(await ideal_question(ideal, project)), (project, name)
            assert len(asked) == 4
    await ours.close()
    await ideal.close()
    monkeypatch.setattr(queries, "RUNS", 2)
    figures = await queries.measure(store.settings, store.client, ["small"])
    assert [figure.aim for figure in figures] == [150, 150, 50, 400]
    assert all(figure.ours > 0 and figure.ideal > 0 and figure.read for figure in figures)
    assert all("granules" in line for figure in figures for line in figure.read)


# Of several events, some of which came again, where there are such.
_RETOLD = """
SELECT trace_id FROM feedback_events WHERE project_id = {p:String}
GROUP BY trace_id ORDER BY least(uniqExact(dedupe_id), 2) + least(count() - uniqExact(dedupe_id), 1) DESC, trace_id LIMIT 3
"""


def told(answer: Any) -> Any:
    """What an answer says, whichever side it is of. An empty one is None."""
    match answer:
        case Page():
            return [event["id"] for event in answer.events] or None
        case [{"is_current": True}, *_]:
            return [f"{row['dedupe_id']:032x}" for row in answer]
        case {"events": [*events], "current": _}:
            return sorted((event["id"], event["vote"], event["comment"]) for event in events)
        case [{"raw": _}, *_]:
            return sorted((f"{row['dedupe_id']:032x}", row["vote"], row["comment"]) for row in answer)
        case {"totals": {"traces": int(found)}} | {"groups": [*found]}:
            return answer if found else None
    return None
