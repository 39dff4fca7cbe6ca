"""That the comparison of the fuzz suite can fail: faults planted in the rows are found."""

from __future__ import annotations

import json

import pytest

from tests.fuzz.expectation import Expectation, Row
from tests.fuzz.recipes import Keys, Recipe, Request, write
from tests.fuzz.wire import Answer

_KEYS = Keys("langwatch", "lunary", "read")
_TAKEN = Answer(200, {}, b'{"message":"Event tracked"}')
_WITHOUT_TIME, _WITH_TIME = 0, 1


def _tracked(event: int) -> Request:
    return write(Recipe(False, 0, (event,), (), 0, (), "", "good", 0, "plain", 100), _KEYS, "t")


def _row(request: Request) -> Row:
    told = json.loads(request.body)
    comment = told.get("event_details", {}).get("feedback")
    return Row(
        "langwatch",
        "t",
        told["event_type"],
        told["metrics"]["vote"],
        comment,
        told["metrics"],
        None,
        None,
        None,
        request.body,
    )


@pytest.mark.parametrize("event", [_WITHOUT_TIME, _WITH_TIME])
def test_faults_are_found(event: int) -> None:
    request = _tracked(event)
    expectation = Expectation()
    expectation.note(request, _TAKEN)
    row = _row(request)
    assert expectation.least == 1
    assert expectation.faults([row]) == []
    assert expectation.faults([]), "lost"
    assert expectation.faults([row, row]), "doubled"
    assert expectation.faults([row._replace(vote=0.0)]), "altered"
    assert expectation.faults([row, _row(_tracked(1 - event))]), "never taken"


@pytest.mark.parametrize("event", [_WITHOUT_TIME, _WITH_TIME])
def test_what_was_refused_must_not_be_there(event: int) -> None:
    request = _tracked(event)
    expectation = Expectation()
    expectation.note(request, Answer(400, {}, b"{}"))
    assert expectation.least == 0
    assert expectation.faults([]) == []
    assert expectation.faults([_row(request)])


def test_a_repeat_without_a_time_is_a_second_event_and_one_with_a_time_is_none() -> None:
    for event, rows in ((_WITHOUT_TIME, 2), (_WITH_TIME, 1)):
        request = _tracked(event)
        expectation = Expectation()
        for _ in range(2):
            expectation.note(request, _TAKEN)
        assert expectation.faults([_row(request)] * rows) == []
        assert expectation.faults([_row(request)] * (3 - rows))
