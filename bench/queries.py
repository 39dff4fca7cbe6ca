"""How quick the answers are at size, beside the same questions to an ideal table that was deduplicated beforehand.

    python -m bench.queries --data FOLDER --events 20000000          # builds what is missing, then measures
    python -m bench.queries --data FOLDER --build-only
    python -m bench.queries --data FOLDER --unsettled                # with rows that are not merged yet

The data set (seeded, see feedback_data) is kept in FOLDER, outside of the source tree, and used again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.feedback_data import DAYS, END, PROJECTS, days, insert_day
from services.analytics.breakdown import Dimension, breakdown
from services.analytics.filters import Filters, VoteFilter
from services.analytics.listing import newest
from services.analytics.main import connect_async
from services.analytics.period import Interval, Period
from services.analytics.refresh import Refresher
from services.analytics.story import OTHER_IDS, story
from services.analytics.summary import summary
from services.analytics.warehouse import Row, Warehouse
from services.standalone.embedded import embedded_clickhouse
from shared.events import Source
from shared.migrate import migrate
from shared.settings import ClickHouseSettings
from shared.storage import connect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clickhouse_connect.driver.asyncclient import AsyncClient
    from clickhouse_connect.driver.client import Client

Question = Callable[[Warehouse, str], Awaitable[object]]

RUNS = 15
_MEMORY = 4 << 30


@dataclass(frozen=True)
class Figure:
    """Milliseconds, of warm runs: the median and the 90th percentile."""

    question: str
    project: str
    aim: int
    ours: float
    ours_p90: float
    ideal: float
    read: tuple[str, ...]

    @property
    def ratio(self) -> float:
        return self.ours / self.ideal


class WatchedWarehouse(Warehouse):
    """Keeps what was asked, to be explained."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncClient]]) -> None:
        super().__init__(connect, concurrency=4, timeout=60.0, memory=_MEMORY)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        self.asked.append((sql, dict(parameters)))
        return await super().rows(sql, parameters)


def explained(client: Client, sql: str, parameters: dict[str, Any]) -> str:
    """Rows that a query reads, and of its tables the granules of 8,192 rows that it cannot rule out."""
    plan = client.query(f"EXPLAIN indexes = 1 {sql}", parameters).result_rows
    lines = [row[0] for row in plan]
    tables: dict[str, str] = {}
    table = ""
    for line in lines:
        if found := re.search(r"ReadFromMergeTree \((?:\w+\.)?(\w+)\)", line):
            table = found[1]
        elif found := re.search(r"Granules: (\d+/\d+)", line):
            # The last index of a table has the last word.
            tables[table] = found[1]
    read = client.query(sql, parameters, settings={"do_not_merge_across_partitions_select_final": 1}).summary
    granules = ", ".join(f"{name} {count}" for name, count in tables.items())
    return f"{int(read.get('read_rows', 0)):,} rows; granules: {granules}"


class IdealWarehouse(Warehouse):
    """The same questions, to tables that hold each event once and nothing else."""

    async def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        return await super().rows(idealized(sql), parameters)


def idealized(sql: str) -> str:
    sql = sql.replace("feedback_resolved FINAL", "ideal_events").replace("feedback_resolved", "ideal_events")
    return sql.replace("NOT gone AND ", "").replace(" AND NOT gone", "")


async def ideal_newest(warehouse: Warehouse, project: str, period: Period) -> object:
    """What one would write where nothing can be there twice."""
    filters = Filters(period, vote=VoteFilter.DOWN, has_comment=True, current=True)
    condition = filters.condition(project)
    sql = f"SELECT * FROM feedback_resolved WHERE {condition.sql} ORDER BY time DESC, dedupe_id DESC LIMIT 50"
    return await warehouse.rows(sql, condition.parameters)


async def ideal_story(warehouse: Warehouse, project: str, trace_id: str) -> object:
    """Its other ids have to be looked up whatever is in the table."""
    sources = [source.value for source in Source]
    parameters = {"project": project, "sources": sources, "ids": [trace_id]}
    _, events = await asyncio.gather(warehouse.rows(OTHER_IDS, parameters), warehouse.rows(_IDEAL_STORY, parameters))
    return events


_IDEAL_STORY = """
SELECT dedupe_id, source, trace_id, event_type, vote, comment, metrics, details, user_id, thread_id, event_id, raw,
       timestamp, time_status, received_at, request_id
FROM ideal_stories
WHERE project_id = {project:String} AND source IN {sources:Array(String)} AND trace_id IN {ids:Array(String)}
ORDER BY timestamp
"""


def questions(trace_ids: list[str]) -> list[tuple[str, int, Question, Question]]:
    """Name, aim in milliseconds, the question, and the same to the ideal tables."""
    utc = ZoneInfo("UTC")
    month = Period(END - timedelta(days=30), END)
    week = Period(END - timedelta(days=7), END)
    bad = Filters(month, vote=VoteFilter.DOWN, has_comment=True, current=True)
    model = Dimension.read("detail:model")
    turn = iter(trace_ids * 100)

    async def one_trace(warehouse: Warehouse, project: str) -> object:
        return await story(warehouse, project, next(turn), None)

    async def one_ideal_trace(warehouse: Warehouse, project: str) -> object:
        return await ideal_story(warehouse, project, next(turn))

    async def by_day(warehouse: Warehouse, project: str) -> object:
        return await summary(warehouse, project, Filters(month), Interval.DAY, utc)

    async def bad_answers(warehouse: Warehouse, project: str) -> object:
        return await newest(warehouse, project, bad, 50, None)

    async def bad_ideal_answers(warehouse: Warehouse, project: str) -> object:
        return await ideal_newest(warehouse, project, month)

    async def by_model(warehouse: Warehouse, project: str) -> object:
        return await breakdown(warehouse, project, Filters(week), model, 20)

    return [
        ("summary of 30 days by day, with the 30 before", 150, by_day, by_day),
        ("newest 50 negative comments", 150, bad_answers, bad_ideal_answers),
        ("one trace", 50, one_trace, one_ideal_trace),
        ("breakdown by a detail over 7 days", 400, by_model, by_model),
    ]


def build(client: Client, events: int, seed: int, console: Console) -> None:
    """What is missing of the data set. Interrupted, it goes on with the next day."""
    client.command("CREATE TABLE IF NOT EXISTS bench_days (day UInt32, events UInt64) ENGINE = MergeTree ORDER BY day")
    done = {row[0] for row in client.query("SELECT day FROM bench_days").result_rows}
    with Progress(*Progress.get_default_columns(), console=console) as progress:
        task = progress.add_task("events", total=len(list(days(events))), completed=len(done))
        for day in days(events):
            if day.number not in done:
                insert_day(client, day, seed)
                client.command(f"INSERT INTO bench_days VALUES ({day.number}, {events})")
                progress.advance(task)


def derive(client: Client, console: Console) -> None:
    """The derived table as the product makes it, and the ideal ones."""
    started = time.perf_counter()
    Refresher(client, 60.0).rebuild()
    console.print(f"feedback_resolved rebuilt in {time.perf_counter() - started:,.0f} s")
    kept = (
        "project_id, time, dedupe_id, source, trace_id, event_type, timestamp, time_status, received_at, seen_at, vote, "
        "comment, metrics, details, user_id, thread_id, event_id, verdict, commented, holds, is_current, current_vote, "
        "current_comment"
    )
    for table in ("ideal_events", "ideal_stories"):
        client.command(f"DROP TABLE IF EXISTS {table}")
    client.command(
        "CREATE TABLE ideal_events ENGINE = MergeTree ORDER BY (project_id, time, dedupe_id) AS "
        f"SELECT {kept} FROM feedback_resolved FINAL WHERE NOT gone"
    )
    client.command(
        "CREATE TABLE ideal_stories ENGINE = MergeTree ORDER BY (project_id, trace_id, timestamp) AS "
        "SELECT * FROM feedback_events FINAL"
    )
    # Ours too, as ClickHouse does by itself in an hour: how many parts there are right behind 60 inserts of a quarter
    # million rows each says nothing of any day in production.
    for table in ("feedback_by_trace", "feedback_resolved", "ideal_events", "ideal_stories"):
        client.command(f"OPTIMIZE TABLE {table} FINAL")


_REWRITTEN = """
INSERT INTO feedback_resolved SELECT * REPLACE (generation + {number} AS generation) FROM feedback_resolved FINAL
WHERE time > '{since}' AND cityHash64(dedupe_id, {number}) % {share} = 0
"""


@contextmanager
def unsettled(client: Client) -> Iterator[None]:
    """As between two merges: what an hour of refreshes wrote lies over the rest in parts of its own: a tenth of the
    last hour's events, a thousandth of two days', a millionth of all, eight times each.
    """
    client.command("SYSTEM STOP MERGES feedback_resolved")
    for hours, share in ((1, 10), (45, 1_000), (24 * DAYS, 1_000_000)):
        since = (END - timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S")
        for number in range(1, 9):
            client.command(_REWRITTEN.format(since=since, share=share, number=number))
    try:
        yield
    finally:
        # The data set is kept: what was laid over it must not be there the next time.
        client.command("SYSTEM START MERGES feedback_resolved")
        client.command("OPTIMIZE TABLE feedback_resolved FINAL")


async def measure(settings: ClickHouseSettings, client: Client, projects: list[str]) -> list[Figure]:
    ours = Warehouse(lambda: connect_async(settings, 60.0), concurrency=4, timeout=60.0, memory=_MEMORY)
    ideal = IdealWarehouse(lambda: connect_async(settings, 60.0), concurrency=4, timeout=60.0, memory=_MEMORY)
    figures = []
    for project in projects:
        rows = client.query(
            "SELECT trace_id FROM ideal_stories WHERE project_id = {p:String} AND cityHash64(trace_id) % 97 = 1 LIMIT 200",
            {"p": project},
        ).result_rows
        for name, aim, question, ideal_question in questions([row[0] for row in rows]):
            # In turns, so that whatever else the machine does falls on both.
            mine: list[float] = []
            best: list[float] = []
            for run in range(RUNS + 3):
                for warehouse, ask, times in ((ours, question, mine), (ideal, ideal_question, best)):
                    started = time.perf_counter()
                    await ask(warehouse, project)
                    if run >= 3:
                        times.append(1000 * (time.perf_counter() - started))
            figures.append(
                Figure(
                    name,
                    project,
                    aim,
                    statistics.median(mine),
                    statistics.quantiles(mine, n=10)[-1],
                    statistics.median(best),
                    await _read(settings, client, question, project),
                )
            )
    await ours.close()
    await ideal.close()
    return figures


async def _read(settings: ClickHouseSettings, client: Client, question: Question, project: str) -> tuple[str, ...]:
    watched = WatchedWarehouse(lambda: connect_async(settings, 60.0))
    await question(watched, project)
    await watched.close()
    return tuple(explained(client, sql, parameters) for sql, parameters in watched.asked)


def shown(figures: list[Figure]) -> Table:
    table = Table("question", "project", "aim ms", "ms", "p90", "ideal ms", "ratio")
    for figure in figures:
        numbers = (figure.ours, figure.ours_p90, figure.ideal)
        ratio = f"{figure.ratio:.2f}"
        table.add_row(figure.question, figure.project, str(figure.aim), *(f"{n:.0f}" for n in numbers), ratio)
    return table


def _state(client: Client) -> dict[str, Any]:
    rows = client.query(
        "SELECT table, sum(rows), count(), sum(bytes_on_disk) FROM system.parts WHERE active "
        "AND database = currentDatabase() GROUP BY table ORDER BY table"
    ).result_rows
    counts = client.query("SELECT project_id, count() FROM ideal_events GROUP BY project_id").result_rows
    return {
        "tables": {name: {"rows": total, "parts": parts, "bytes": size} for name, total, parts, size in rows},
        "events": {row[0]: row[1] for row in counts},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set, outside of the source tree")
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--projects", nargs="*", default=list(PROJECTS))
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--derive", action="store_true", help="derive the tables anew")
    parser.add_argument("--unsettled", action="store_true", help="with rows that are not merged yet")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    console = Console(file=sys.stderr)
    with embedded_clickhouse(arguments.data, max_memory=8 << 30) as (url, _):
        settings = ClickHouseSettings.model_validate({"clickhouse_url": url, "clickhouse_timeout": 3600.0})
        migrate(settings)
        client = connect(settings)
        build(client, arguments.events, arguments.seed, console)
        if arguments.build_only:
            return 0
        exists = client.query("EXISTS TABLE ideal_stories").result_rows[0][0]
        if arguments.derive or not exists:
            derive(client, console)
        with unsettled(client) if arguments.unsettled else nullcontext():
            figures = asyncio.run(measure(settings, client, arguments.projects))
            state = _state(client)
        Console().print(shown(figures))
        for figure in figures:
            Console().print(f"{figure.question}, {figure.project}:", *figure.read, sep="\n  ", highlight=False)
        Console().print(state)
        if arguments.json:
            told = {"figures": [asdict(figure) | {"ratio": figure.ratio} for figure in figures], **state}
            arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        client.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
