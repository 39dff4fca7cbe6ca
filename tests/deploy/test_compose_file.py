"""deploy/compose.yaml as it is written; test_compose.py starts it."""

from __future__ import annotations

from typing import Any

import yaml

from .tools import DEPLOY, known_variables

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = ("migrate", "ingest", "worker", "analytics")


def test_every_setting_is_one_that_a_service_knows() -> None:
    for service in OURS:
        assert set(COMPOSE["services"][service]["environment"]) <= known_variables()


def test_traces_are_off_unless_the_environment_switches_them_on_and_then_few() -> None:
    for service in OURS:
        told = COMPOSE["services"][service]["environment"]
        assert told["PLAUDIT_OTEL_TRACING"] == "${PLAUDIT_OTEL_TRACING:-false}"
        assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == "${OTEL_EXPORTER_OTLP_ENDPOINT:-}"
        assert told["OTEL_TRACES_SAMPLER"] == "${OTEL_TRACES_SAMPLER:-parentbased_traceidratio}"
        assert told["OTEL_TRACES_SAMPLER_ARG"] == "${OTEL_TRACES_SAMPLER_ARG:-0.01}"
