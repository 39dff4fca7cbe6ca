"""The Python package ``lunary``, in processes of its own, told nothing but a URL and a key."""

from __future__ import annotations

import hashlib
import uuid
from textwrap import dedent

import pytest

from tests.sdk.conftest import Run
from tests.support.up_stack import Ready

pytestmark = [pytest.mark.sdk, pytest.mark.integration]

_FEEDBACK = "SELECT vote, comment, source, event_type FROM feedback_events FINAL WHERE trace_id = {trace:String}"
_CURRENT = "SELECT vote, comment, events FROM feedback_current WHERE trace_id = {trace:String}"


def _sent_id(identifier: str, key: str) -> str:
    """The SDK sends no id as it got it, but a UUID made of it and of its key."""
    return str(uuid.UUID(hashlib.sha256(f"{identifier}{key}".encode()).hexdigest()[:32]))


@pytest.fixture
def run_id(stack: Ready) -> tuple[str, str]:
    """An id as an application has it, and as it arrives."""
    identifier = str(uuid.uuid4())
    return identifier, _sent_id(identifier, stack.keys["lunary_public"])


def test_a_thumb_arrives(stack: Ready, run_python: Run, run_id: tuple[str, str]) -> None:
    run_python("import sys, lunary; lunary.track_feedback(sys.argv[1], {'thumb': 'up'})", run_id[0])
    assert stack.wait_for_rows(_FEEDBACK, 1, trace=run_id[1]) == [(1.0, None, "lunary", "feedback")]


def test_a_thumb_is_taken_back_and_the_comment_stays(stack: Ready, run_python: Run, run_id: tuple[str, str]) -> None:
    program = """
        import sys, time, lunary
        for feedback in ({"thumb": "down", "comment": "zu lang \\U0001f44e"}, {"thumb": None}):
            lunary.track_feedback(sys.argv[1], feedback)
            time.sleep(0.01)
    """
    run_python(dedent(program), run_id[0])
    assert len(stack.wait_for_rows(_FEEDBACK, 2, trace=run_id[1])) == 2
    assert stack.rows(_CURRENT, trace=run_id[1]) == [(0.0, "zu lang \U0001f44e", 2)]


def test_the_messages_of_a_thread_carry_feedback(stack: Ready, run_python: Run) -> None:
    program = """
        import sys, lunary
        thread = lunary.open_thread(id=sys.argv[1])
        thread.track_message({"id": sys.argv[2], "role": "user", "content": "why?"})
        thread.track_message(
            {"id": sys.argv[3], "role": "assistant", "content": "because"}, feedback={"thumb": "down"}
        )
        lunary.track_feedback(sys.argv[3], {"comment": "no reason"})
    """
    thread, asked, answered = (str(uuid.uuid4()) for _ in range(3))
    run_python(dedent(program), thread, asked, answered)
    key = stack.keys["lunary_public"]
    trace = _sent_id(answered, key)
    assert len(stack.wait_for_rows(_FEEDBACK, 2, trace=trace)) == 2
    # What holds now may be told under the message's own id as well as under the one that the SDK made of it.
    current = "SELECT vote, comment, events FROM feedback_current WHERE trace_id IN ({a:String}, {b:String})"
    assert stack.rows(current, a=answered, b=trace) == [(-1.0, "no reason", 2)]
    threads = stack.rows("SELECT DISTINCT thread_id FROM feedback_events WHERE trace_id = {t:String}", t=trace)
    assert (_sent_id(thread, key),) in threads
    assert stack.rows(_FEEDBACK, trace=_sent_id(asked, key)) == []


def test_a_burst_of_250_arrives_whole_and_once(stack: Ready, run_python: Run) -> None:
    program = """
        import sys, lunary
        for number in range(250):
            lunary.track_feedback(f"{sys.argv[1]}-{number}", {"thumb": ("up", "down")[number % 2], "rank": number})
    """
    burst = uuid.uuid4().hex
    run_python(dedent(program), burst)
    traces = [_sent_id(f"{burst}-{number}", stack.keys["lunary_public"]) for number in range(250)]
    query = (
        "SELECT trace_id, vote, metrics['rank'] FROM feedback_events FINAL WHERE has({traces:Array(String)}, trace_id)"
    )
    rows = stack.wait_for_rows(query, 250, traces=traces)
    assert sorted(rows, key=lambda row: row[2]) == [
        (trace, -1.0 if number % 2 else 1.0, float(number)) for number, trace in enumerate(traces)
    ]


def test_what_waits_at_the_end_of_a_program_is_sent(stack: Ready, run_python: Run, run_id: tuple[str, str]) -> None:
    program = "import sys, lunary; lunary.track_feedback(sys.argv[1], {'comment': 'last words'}); sys.exit(0)"
    run_python(program, run_id[0])
    assert stack.wait_for_rows(_FEEDBACK, 1, trace=run_id[1]) == [(None, "last words", "lunary", "feedback")]


def test_a_private_key_works_as_well_and_is_kept_nowhere(stack: Ready, run_python: Run) -> None:
    private = stack.keys["lunary_private"]
    identifier = str(uuid.uuid4())
    program = "import sys, lunary; lunary.track_feedback(sys.argv[1], {'thumb': 'up'})"
    run_python(program, identifier, LUNARY_PRIVATE_KEY=private)
    trace = _sent_id(identifier, private)
    rows = stack.wait_for_rows("SELECT vote, raw FROM feedback_events WHERE trace_id = {t:String}", 1, t=trace)
    assert [row[0] for row in rows] == [1.0]
    assert private not in str(rows) + stack.log.read_text()
