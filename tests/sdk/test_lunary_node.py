"""The npm package ``lunary`` on Node, told nothing but a URL and a key."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.sdk.conftest import Run
from tests.support.up_stack import Ready

pytestmark = [pytest.mark.sdk, pytest.mark.integration]

_FEEDBACK = "SELECT vote, comment, thread_id FROM feedback_events FINAL WHERE trace_id = {trace:String}"
_CURRENT = "SELECT vote, comment, events FROM feedback_current WHERE trace_id = {trace:String}"

_IMPORT = "import lunary from 'lunary'; const [id, other] = process.argv.slice(1);"


@pytest.fixture
def run_id() -> str:
    return str(uuid.uuid4())


def test_a_thumb_arrives(stack: Ready, run_node: Run, run_id: str) -> None:
    run_node(_IMPORT + "lunary.trackFeedback(id, { thumb: 'up' });", run_id)
    assert stack.wait_for_rows(_FEEDBACK, 1, trace=run_id) == [(1.0, None, None)]


def test_a_null_thumb_takes_it_back_and_the_comment_stays(stack: Ready, run_node: Run, run_id: str) -> None:
    program = """
        lunary.trackFeedback(id, { thumb: 'down', comment: 'zu lang 👎' });
        lunary.trackFeedback(id, { thumb: null });
    """
    run_node(_IMPORT + program, run_id)
    assert len(stack.wait_for_rows(_FEEDBACK, 2, trace=run_id)) == 2
    assert stack.rows(_CURRENT, trace=run_id) == [(0.0, "zu lang 👎", 2)]


def test_null_in_place_of_the_feedback_says_nothing(stack: Ready, run_node: Run, run_id: str) -> None:
    # The SDK leaves the key out then, and the vendor changes nothing.
    run_node(_IMPORT + "lunary.trackFeedback(id, null); lunary.trackFeedback(id, { comment: 'after' });", run_id)
    assert stack.wait_for_rows(_FEEDBACK, 1, trace=run_id) == [(None, "after", None)]


def test_the_messages_of_a_thread_carry_feedback(stack: Ready, run_node: Run, run_id: str) -> None:
    program = """
        const thread = lunary.openThread({ id: other });
        thread.trackMessage({ role: 'user', content: 'why?' });
        thread.trackMessage({ id, role: 'assistant', content: 'because', feedback: { thumb: 'down' } });
        lunary.trackFeedback(id, { comment: 'no reason' });
    """
    thread = str(uuid.uuid4())
    run_node(_IMPORT + program, run_id, thread)
    rows = stack.wait_for_rows(_FEEDBACK, 2, trace=run_id)
    assert sorted(rows, key=str) == [(-1.0, None, thread), (None, "no reason", None)]
    assert stack.rows(_CURRENT, trace=run_id) == [(-1.0, "no reason", 2)]


def test_a_burst_of_250_arrives_whole_and_once(stack: Ready, run_node: Run) -> None:
    program = """
        for (let number = 0; number < 250; number++)
            lunary.trackFeedback(`${id}-${number}`, { thumb: number % 2 ? 'down' : 'up', rank: number });
    """
    burst = f"burst-{uuid.uuid4().hex}"  # not of 36 characters: those must be UUIDs
    run_node(_IMPORT + program, burst)
    query = "SELECT trace_id, vote, metrics['rank'] FROM feedback_events FINAL WHERE startsWith(trace_id, {b:String})"
    rows = stack.wait_for_rows(query, 250, b=burst)
    assert sorted(rows, key=lambda row: row[2]) == [
        (f"{burst}-{number}", -1.0 if number % 2 else 1.0, float(number)) for number in range(250)
    ]


def test_many_changes_of_mind_are_merged_in_the_order_they_came(stack: Ready, run_node: Run, run_id: str) -> None:
    program = """
        for (let number = 0; number < 30; number++) {
            lunary.trackFeedback(id, { thumb: number % 2 ? 'up' : 'down', comment: `${number}` });
            await new Promise(wake => setTimeout(wake, 5));
        }
    """
    run_node(_IMPORT + program, run_id)
    assert len(stack.wait_for_rows(_FEEDBACK, 30, trace=run_id)) == 30
    assert stack.rows(_CURRENT, trace=run_id) == [(1.0, "29", 30)]


def test_get_feedback_reads_what_was_tracked_and_null_where_nothing_was(
    stack: Ready, run_node: Run, run_id: str
) -> None:
    run_node(_IMPORT + "lunary.trackFeedback(id, { thumb: 'up', my_rating: 4.5, tags: ['a', null] });", run_id)
    assert len(stack.wait_for_rows(_FEEDBACK, 1, trace=run_id)) == 1
    read = "console.log(JSON.stringify([await lunary.getFeedback(id), await lunary.getFeedback(other)]));"
    printed = run_node(_IMPORT + read, run_id, str(uuid.uuid4()))
    assert json.loads(printed) == [{"thumb": "up", "myRating": 4.5, "tags": ["a", None]}, None]
