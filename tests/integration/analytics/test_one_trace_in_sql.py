"""SQL people ask for one trace, or one project, without reading the others; the answer is that of the whole view."""

from __future__ import annotations

from typing import Any

import pytest

from services.analytics import story
from shared.cluster import EVERYWHERE

from .conftest import Store

pytestmark = pytest.mark.integration

TRACES = 150_000
SMALL = 5_000
GRANULE = 8_192

_FEEDBACK = """
INSERT INTO feedback_events (project_id, source, trace_id, dedupe_id, key_time, event_type, timestamp, received_at, version, vote, comment)
SELECT '{project}', if(number % 2, 'lunary', 'langwatch'), hex(sipHash64(intDiv(number, 4))), number,
       toDateTime64('2026-11-01', 6, 'UTC') + number AS key_time, 'feedback', key_time, key_time + 1, number,
       [1, -1, 0, NULL][1 + number % 4], if(number % 4 = 3, 'because', NULL)
FROM numbers({rows})
"""
_ALIASES = """
INSERT INTO trace_aliases
SELECT '{project}', 'lunary', if(number % 9, hex(sipHash64('nobody', number)), hex(sipHash64(number))),
       hex(sipHash64(number + 1)), now64(6)
FROM numbers({rows})
"""


@pytest.fixture
def large(store: Store) -> Store:
    """A large project and a small one with the same ids, where every ninth trace is known to be the one after it."""
    for project, traces in (("large", TRACES), ("small", SMALL)):
        store.client.command(_FEEDBACK.format(project=project, rows=4 * traces))
        store.client.command(_ALIASES.format(project=project, rows=traces))
    for table in ("feedback_by_trace", "trace_aliases", "trace_aliases_by_trace"):
        store.client.command(f"OPTIMIZE TABLE {table} FINAL")
    return store


def ask(store: Store, sql: str, **parameters: Any) -> tuple[list[tuple[Any, ...]], int]:
    """Rows, and how many rows were read for them."""
    found = store.client.query(sql, parameters, settings=dict(EVERYWHERE))
    return sorted((tuple(row) for row in found.result_rows), key=repr), int(found.summary["read_rows"])


def named(store: Store, number: int) -> str:
    return str(store.client.query(f"SELECT hex(sipHash64(toUInt64({number})))").result_rows[0][0])


@pytest.mark.parametrize("number", [0, 1, 2, 9, 4_500], ids=lambda n: f"trace {n}")
def test_one_trace_is_what_the_whole_view_says_of_it_and_reads_no_other(large: Store, number: int) -> None:
    of = "SELECT * FROM feedback_of(project = 'large', trace = '{}')"
    whole = "SELECT * FROM feedback_current WHERE project_id = 'large' AND (source, trace_id) IN {wanted:Array(Tuple(String, String))}"
    answer, read = ask(large, of.format(named(large, number)))
    assert answer
    expected, all_read = ask(large, whole, wanted=[(row[1], row[2]) for row in answer])
    assert answer == expected
    assert {row[2] for row in answer} == (
        {named(large, number + 1), named(large, number)} if number % 9 == 0 else {named(large, number)}
    )
    print(f"{read:,} rows instead of {all_read:,}")  # noqa: T201 -- a figure of the documentation
    assert read < 40 * GRANULE < all_read


def test_one_project_reads_no_other(large: Store) -> None:
    _, small = ask(large, "SELECT count() FROM feedback_current WHERE project_id = 'small'")
    _, both = ask(large, "SELECT count() FROM feedback_current")
    print(f"{small:,} rows instead of {both:,}")  # noqa: T201 -- a figure of the documentation
    assert small < 20 * SMALL < both / 10


def test_the_story_of_a_trace_reads_no_other(large: Store) -> None:
    parameters = {"project": "large", "sources": ["lunary", "langwatch"], "ids": [named(large, 1)]}
    rows, read = ask(large, story.OTHER_IDS, **parameters)
    assert [row[1] for row in rows] == [named(large, 0)]
    print(f"{read:,} rows of aliases")  # noqa: T201 -- a figure of the documentation
    assert read < 10 * GRANULE


def test_a_trace_of_which_nothing_is_known_has_no_row(large: Store) -> None:
    assert ask(large, "SELECT * FROM feedback_of(project = 'large', trace = 'nobody')")[0] == []
    assert ask(large, "SELECT * FROM feedback_of(project = 'nobody', trace = '1')")[0] == []
