"""Schemathesis makes requests of the OpenAPI document, valid and not, and holds the door's answers against it."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.door_stack import LEGACY, PRIVATE, PUBLIC, Stack

pytestmark = pytest.mark.integration

_EXAMPLES = 60
_ALWAYS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_LANGWATCH = {"X-Auth-Token": LEGACY}
_LUNARY = {"Authorization": f"Bearer {PUBLIC}"}
_OPERATIONS = [
    ("/api/track_event", "POST", _LANGWATCH),
    ("/api/events/track", "POST", _LANGWATCH),
    ("/v1/runs/ingest", "POST", _LUNARY),
    ("/api/report", "POST", {}),
    ("/v1/runs/{id}/feedback", "GET", _LUNARY),
    ("/v1/runs/{id}/feedback", "PATCH", {"Authorization": f"Bearer {PRIVATE}"}),
]


def _check(
    stack: Stack, path: str, method: str, headers: dict[str, str], mode: GenerationMode, checks: list[CheckFunction]
) -> None:
    document = httpx.get(f"{stack.url}/openapi.json").json()
    operation = schemathesis.openapi.from_dict(document)[path][method]
    cases: st.SearchStrategy[Case] = operation.as_strategy(generation_mode=mode)

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def conforms(case: Case) -> None:
        answer = case.call(base_url=stack.url, headers=headers, timeout=20)
        case.validate_response(answer, checks=checks)

    conforms()


@pytest.mark.parametrize(("path", "method", "headers"), _OPERATIONS)
def test_what_the_document_calls_valid_is_answered_as_it_says(
    stack: Stack, path: str, method: str, headers: dict[str, str]
) -> None:
    # An old SDK's report needs a project in its body that exists, which no generator guesses.
    accepted = [positive_data_acceptance] if path != "/api/report" else []
    _check(stack, path, method, headers, GenerationMode.POSITIVE, [*_ALWAYS, *accepted])


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [operation for operation in _OPERATIONS if operation[1] != "GET"],  # any text is a run id
)
def test_what_the_document_calls_invalid_is_answered_as_it_says(
    stack: Stack, path: str, method: str, headers: dict[str, str]
) -> None:
    # Lunary takes a batch whatever is in it, and says of each event what was wrong with it, inside a 200.
    refused = [negative_data_rejection] if headers is _LANGWATCH else []
    _check(stack, path, method, headers, GenerationMode.NEGATIVE, [*_ALWAYS, *refused])


@pytest.mark.parametrize(("path", "method", "_headers"), _OPERATIONS)
def test_without_a_key_the_answer_is_the_documented_refusal(
    stack: Stack, path: str, method: str, _headers: dict[str, str]
) -> None:
    _check(stack, path, method, {}, GenerationMode.POSITIVE, _ALWAYS)
