"""Every case of the vendors' contracts, against the real door."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.replay import ANYTHING, load, send, wanted
from tests.support.door_stack import Stack

pytestmark = pytest.mark.integration

_CASES = [(vendor, case) for vendor in ("langwatch", "lunary") for case in load(f"{vendor}.jsonl")]


def _parameters(*, faults: bool) -> list[Any]:
    return [
        pytest.param(case, id=f"{vendor}-{case['name']}") for vendor, case in _CASES if ("requires" in case) == faults
    ]


@pytest.mark.parametrize("case", _parameters(faults=False))
def test_a_case_is_answered_as_the_vendor_does_or_better_for_a_stated_reason(
    stack: Stack, case: dict[str, Any]
) -> None:
    status, body = wanted(case)
    answer = send(stack.url, case)
    assert answer.status == status, answer.body
    if body is not ANYTHING:
        assert answer.json() == body


@pytest.mark.parametrize("case", _parameters(faults=True))
def test_with_the_queue_down_the_client_is_told_to_try_again(stack: Stack, case: dict[str, Any]) -> None:
    assert case["requires"] == "queue_down"
    status, body = wanted(case)
    stack.valkey.kill()
    try:
        answer = send(stack.url, case)
    finally:
        stack.valkey.restart()
    assert (answer.status, answer.json()) == (status, body)
    assert 1 <= int(answer.headers["retry-after"]) <= 5


def test_every_deviation_says_why() -> None:
    assert len(_CASES) == 218
    assert all(case["plaudit"]["reason"] for _, case in _CASES if "plaudit" in case)
