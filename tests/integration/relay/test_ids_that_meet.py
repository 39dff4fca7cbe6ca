"""Feedback from a browser and messages tracked by a Python back end meet, whichever comes first."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shared.formats.lunary_runs import python_run_id
from shared.storage import connect
from tests.support.door_stack import OTHER_PUBLIC, PUBLIC, Stack, running_stack

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("ids"), PLAUDIT_TRACE_PAUSE="0.1", PLAUDIT_TRACE_METADATA="release"
    ) as running:
        yield running


def _send(stack: Stack, *events: dict[str, Any], key: str = PUBLIC) -> None:
    answer = httpx.post(
        f"{stack.url}/v1/runs/ingest",
        content=json.dumps({"events": list(events)}),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    assert answer.status_code == 200


def _message(message_id: str, key: str = PUBLIC, **more: Any) -> dict[str, Any]:
    run_id = python_run_id(message_id, key)
    message = {"role": "assistant", "content": "secret text", "id": message_id}
    return {"event": "chat", "type": "thread", "runId": run_id, "parentRunId": "t-1", "message": message, **more}


def _thumb(run_id: str, thumb: str | None) -> dict[str, Any]:
    return {"event": "feedback", "runId": run_id, "feedback": {"thumb": thumb}}


def _select(stack: Stack, query: str, wanted: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Its rows, as soon as they are the ``wanted`` ones; what they are after a while."""
    client = connect(stack.clickhouse_settings)
    try:
        deadline = time.monotonic() + 15
        while True:
            rows = [tuple(row) for row in client.query(query).result_rows]
            if rows == wanted or time.monotonic() > deadline:
                return rows
            time.sleep(0.1)
    finally:
        client.close()


@pytest.mark.parametrize("first", ["feedback", "message"])
@pytest.mark.parametrize("message_id", ["aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeee{n}", "msg-{n}"])
def test_python_and_browser_feedback_of_one_message_are_of_one_trace(stack: Stack, first: str, message_id: str) -> None:
    message_id = message_id.format(n=int(first == "message"))
    feedback = [_thumb(message_id, "up"), _thumb(python_run_id(message_id, PUBLIC), "down")]
    if first == "message":
        _send(stack, _message(message_id))
        time.sleep(0.5)
    for event in feedback:
        _send(stack, event)
    if first == "feedback":
        time.sleep(0.5)
        _send(stack, _message(message_id))
    query = f"SELECT vote, events FROM feedback_current WHERE trace_id = '{message_id}'"
    assert _select(stack, query, [(-1.0, 2)]) == [(-1.0, 2)]
    alias = python_run_id(message_id, PUBLIC)
    assert _select(stack, f"SELECT vote FROM feedback_current WHERE trace_id = '{alias}'", []) == []


def test_an_id_that_is_no_hash_of_the_message_is_no_alias_of_it(stack: Stack) -> None:
    forged = {**_message("mine"), "runId": "bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee"}
    _send(stack, forged, _message("settled"))
    _send(stack, _thumb("bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee", "up"))
    _select(stack, "SELECT count() FROM trace_aliases WHERE trace_id = 'settled'", [(1,)])
    assert _select(stack, "SELECT count() FROM trace_aliases WHERE trace_id = 'mine'", [(0,)]) == [(0,)]
    query = "SELECT trace_id FROM feedback_current WHERE trace_id LIKE 'bbbbbbbb%'"
    assert _select(stack, query, [("bbbbbbbb-bbbb-4ccc-8ddd-eeeeeeeeeeee",)])


def test_aliases_stay_in_their_project(stack: Stack) -> None:
    _send(stack, _message("shared-id", key=PUBLIC))
    _send(stack, _thumb(python_run_id("shared-id", PUBLIC), "up"), key=OTHER_PUBLIC)
    _send(stack, _thumb("shared-id", "down"), key=OTHER_PUBLIC)
    query = "SELECT project_id, vote FROM feedback_current WHERE trace_id = 'shared-id' ORDER BY project_id"
    assert _select(stack, query, [("project_other", -1.0)]) == [("project_other", -1.0)]


def test_a_slim_record_of_a_trace_is_kept_without_its_text(stack: Stack) -> None:
    run: dict[str, Any] = {
        "event": "start",
        "type": "agent",
        "runId": "cccccccc-bbbb-4ccc-8ddd-eeeeeeeeeeee",
        "name": "support-bot",
    }
    run |= {"userId": "ada", "tags": ["b", "a"], "metadata": {"release": "r7", "secret": "no"}, "input": "secret text"}
    call: dict[str, Any] = {
        "event": "start",
        "type": "llm",
        "runId": "dddddddd-bbbb-4ccc-8ddd-eeeeeeeeeeee",
        "name": "gpt-5",
    }
    call |= {"parentRunId": run["runId"], "templateId": 12, "input": "secret text"}
    _send(stack, run, call)
    query = "SELECT name, model, version, user_id, arraySort(tags), metadata FROM traces WHERE trace_id = "
    wanted = [("support-bot", "gpt-5", "12", "ada", ["a", "b"], {"release": "r7"})]
    assert _select(stack, query + f"'{run['runId']}'", wanted) == wanted
    everything = "SELECT count() FROM trace_attributes WHERE toString(tuple(*)) LIKE '%secret%'"
    assert _select(stack, everything, [(0,)]) == [(0,)]
    _send(stack, run, call)
    assert _select(stack, query + f"'{run['runId']}'", wanted) == wanted


def test_feedback_on_either_id_is_read_back_as_one(stack: Stack) -> None:
    _send(stack, _message("read-back"))
    _send(stack, _thumb(python_run_id("read-back", PUBLIC), "up"))
    _send(stack, {"event": "feedback", "runId": "read-back", "feedback": {"comment": "good"}})
    _select(stack, "SELECT events FROM feedback_current WHERE trace_id = 'read-back'", [(2,)])
    for run_id in ("read-back", python_run_id("read-back", PUBLIC)):
        answer = httpx.get(f"{stack.url}/v1/runs/{run_id}/feedback", headers={"authorization": f"Bearer {PUBLIC}"})
        assert answer.json() == {"thumb": "up", "comment": "good"}
