from __future__ import annotations

import sys

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from shared.errors import TracingError
from shared.settings import OpenTelemetrySettings, TracingSettings
from shared.tracing import start_tracing

ON = TracingSettings(otel_tracing=True)


@pytest.mark.parametrize(
    ("sampler", "parent_based", "share"),
    [
        (None, True, 1.0),
        ("always_on", False, 1.0),
        ("always_off", False, 0.0),
        ("traceidratio", False, 0.25),
        ("parentbased_always_on", True, 1.0),
        ("parentbased_always_off", True, 0.0),
        ("parentbased_traceidratio", True, 0.25),
    ],
)
def test_the_standard_names_of_samplers_mean_what_the_standard_says(
    monkeypatch: pytest.MonkeyPatch, sampler: str | None, parent_based: bool, share: float
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    if sampler:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    settings = OpenTelemetrySettings()
    assert (settings.parent_based, settings.share) == (parent_based, share)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer t,just-a-secret"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ],
)
def test_a_bad_standard_variable_is_told_where_tracing_is_on_and_does_no_harm_where_it_is_off(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert start_tracing(TracingSettings(), "ingest", CollectorRegistry()) is None
    with pytest.raises(ValidationError) as told:
        start_tracing(ON, "ingest", CollectorRegistry())
    assert told.value.title == "OpenTelemetrySettings"
    assert [f"OTEL_{problem['loc'][0]}".upper() for problem in told.value.errors()] == [name]


def test_batches_larger_than_the_queue_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    with pytest.raises(ValidationError, match="OTEL_BSP_MAX_EXPORT_BATCH_SIZE must not be above"):
        OpenTelemetrySettings()


def test_the_standard_switch_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert start_tracing(ON, "ingest", CollectorRegistry()) is None


def test_missing_packages_are_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("shared.tracing.", "opentelemetry.exporter"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(TracingError, match=r"pip install 'plaudit\[otel\]'"):
        start_tracing(ON, "ingest", CollectorRegistry())


def test_the_service_names_itself_unless_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.tracing.tracing import _resource

    assert _resource("ingest").attributes["service.name"] == "plaudit-ingest"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=feedback,deployment.environment.name=staging")
    assert _resource("ingest").attributes["service.name"] == "feedback"
    assert _resource("ingest").attributes["deployment.environment.name"] == "staging"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "door")
    assert _resource("ingest").attributes["service.name"] == "door"
