"""The Helm chart: rendered, linted and validated without a cluster, for three sets of values."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .tools import DEPLOY, ROOT, known_variables

CHART = DEPLOY / "helm" / "plaudit"
VALUE_SETS = sorted((CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.31"

helm = pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

Manifest = dict[str, Any]


def values_of(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())
    return values


def render(values: dict[str, Any]) -> list[Manifest]:
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="demo", namespace="feedback")
    return [
        manifest
        for path, text in files.items()
        if path.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]


def notes(values: dict[str, Any]) -> str:
    with helm.Chart.load(str(CHART)) as chart:
        return str(chart.render(values, name="demo", namespace="feedback")["plaudit/templates/NOTES.txt"])


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    return next(m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    yield from (m["spec"]["template"] for m in manifests if m["kind"] in {"Deployment", "Job"})


@pytest.fixture(params=VALUE_SETS, ids=lambda path: path.stem)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(yaml.safe_load(request.param.read_text()))


def test_there_are_three_value_sets() -> None:
    assert [path.stem for path in VALUE_SETS] == ["cluster-values", "production-values", "small-values"]


@pytest.mark.parametrize("path", VALUE_SETS, ids=lambda path: path.stem)
def test_helm_lints_it_without_a_complaint(path: Path) -> None:
    report = helm.lint(str(CHART), yaml.safe_load(path.read_text()), strict=True)
    # The first level of severity is a hint: the chart has no icon.
    assert [m for m in report["messages"] if m["severity"] > 1] == []
    assert report["errors"] == []


def test_kubernetes_takes_every_manifest_strictly(manifests: list[Manifest]) -> None:
    native = [m for m in manifests if m["apiVersion"].partition("/")[0] not in {"keda.sh", "monitoring.coreos.com"}]
    assert len(native) >= 8
    for manifest in native:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["production", "cluster"])
def test_keda_takes_its_object(name: str) -> None:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject

    scaled = next(m for m in render(values_of(name)) if m["kind"] == "ScaledObject")
    parsed = ScaledObject.model_validate(scaled)
    told = parsed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    # What a model does not know it leaves out: nothing may be missing from what it read.
    assert told["spec"] == scaled["spec"]
    deployments = {m["metadata"]["name"] for m in render(values_of(name)) if m["kind"] == "Deployment"}
    assert scaled["spec"]["scaleTargetRef"]["name"] in deployments


def test_workers_follow_the_length_of_the_log_as_the_doors_tell_it() -> None:
    manifests = render(values_of("cluster"))
    trigger = find(manifests, "ScaledObject", "feedback-worker")["spec"]["triggers"][0]
    service = find(manifests, "Service", "feedback-ingest")
    assert trigger["metadata"]["url"] == "http://feedback-ingest.feedback.svc:80/metrics"
    assert service["spec"]["ports"][0]["port"] == 80
    assert trigger["metadata"]["valueLocation"] == "plaudit_backlog_entries"
    assert "replicas" not in find(manifests, "Deployment", "feedback-worker")["spec"]


def test_no_pod_is_root_writes_its_own_files_or_holds_a_token(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_every_secret_is_a_reference(manifests: list[Manifest]) -> None:
    assert not [m for m in manifests if m["kind"] == "Secret"]
    for pod in pods(manifests):
        env = {item["name"]: item for container in pod["spec"]["containers"] for item in container["env"]}
        for name in ("PLAUDIT_REDIS_URL", "PLAUDIT_CLICKHOUSE_URL"):
            assert env[name]["valueFrom"]["secretKeyRef"]["name"] == "plaudit-servers"


def test_each_service_has_its_own_user_where_privileges_are_separated() -> None:
    keys = {}
    for pod in pods(render(values_of("production"))):
        container = pod["spec"]["containers"][0]
        env = {item["name"]: item for item in container["env"]}
        keys[container["name"]] = env["PLAUDIT_CLICKHOUSE_URL"]["valueFrom"]["secretKeyRef"]["key"]
    assert keys == {
        "migrate": "clickhouse-owner",
        "ingest": "clickhouse-door",
        "worker": "clickhouse-writer",
        "analytics": "clickhouse-reader",
    }


def test_every_setting_is_one_that_a_service_knows(manifests: list[Manifest]) -> None:
    told = {item["name"] for pod in pods(manifests) for c in pod["spec"]["containers"] for item in c["env"]}
    assert told <= known_variables()


def test_a_pod_has_longer_to_end_than_its_service_takes() -> None:
    from shared.settings import IngestSettings, RelaySettings, TracingSettings, WorkerSettings

    flush = TracingSettings().otel_flush_timeout
    manifests = render(values_of("production"))
    door = find(manifests, "Deployment", "demo-plaudit-ingest")["spec"]["template"]["spec"]
    env = {item["name"]: item.get("value") for item in door["containers"][0]["env"]}
    drain = float(env["PLAUDIT_INGEST_DRAIN_DELAY"]) + IngestSettings().ingest_drain_timeout
    assert door["terminationGracePeriodSeconds"] > drain + RelaySettings().relay_drain + flush
    worker = find(manifests, "Deployment", "demo-plaudit-worker")["spec"]["template"]["spec"]
    assert worker["terminationGracePeriodSeconds"] > WorkerSettings().worker_drain_timeout + flush


def environment(manifests: list[Manifest], name: str) -> dict[str, Any]:
    """What the one container of a deployment is told; a reference to a Secret in place of what it holds."""
    (container,) = find(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


def test_traces_are_off_unless_they_are_switched_on() -> None:
    for manifest in render(values_of("small")):
        assert "OTEL" not in str(manifest)


@pytest.mark.parametrize("service", ["ingest", "worker"])
def test_doors_and_workers_are_told_where_traces_go_and_how_many(service: str) -> None:
    values = values_of("production")
    values["tracing"] |= {"sampleRatio": 0.05, "forcedRate": 0.5}
    told = environment(render(values), f"demo-plaudit-{service}")
    assert {name: value for name, value in told.items() if "OTEL" in name} == {
        "PLAUDIT_OTEL_TRACING": "true",
        "PLAUDIT_OTEL_FORCED_RATE": "0.5",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel-collector.observability.svc:4318",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_HEADERS": {"secretKeyRef": {"name": "plaudit-servers", "key": "otlp-headers"}},
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.05",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=feedback,deployment.environment.name=production",
    }


def test_what_is_not_traced_is_not_told_of_it() -> None:
    assert not any("OTEL" in name for name in environment(render(values_of("production")), "demo-plaudit-analytics"))


def test_network_policies_let_traces_out_where_they_are_made() -> None:
    manifests = render(values_of("production"))
    for component, reached in {"ingest": True, "worker": True, "analytics": False, "migrate": False}.items():
        egress = find(manifests, "NetworkPolicy", f"demo-plaudit-{component}")["spec"]["egress"]
        assert any({"port": 4318, "protocol": "TCP"} in rule["ports"] for rule in egress) is reached, component


def test_traces_need_a_collector() -> None:
    with pytest.raises(helm.HelmError, match=r"tracing\.endpoint"):
        render(values_of("small") | {"tracing": {"enabled": True}})


def test_the_outside_reaches_what_clients_call_and_nothing_else_of_the_doors() -> None:
    ingress = find(render(values_of("cluster")), "Ingress", "feedback-ingest")
    paths = {entry["path"] for entry in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert paths == {"/v1/runs", "/api/report", "/api/track_event", "/api/events/track"}


def test_selectors_find_their_own_pods_only(manifests: list[Manifest]) -> None:
    labels = {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["metadata"]["labels"] for pod in pods(manifests)
    }
    for manifest in manifests:
        selector = manifest.get("spec", {}).get("selector") if manifest["kind"] in {"Service", "Deployment"} else None
        if not selector:
            continue
        wanted = selector.get("matchLabels", selector)
        matching = [name for name, found in labels.items() if wanted.items() <= found.items()]
        assert len(matching) == 1, (manifest["kind"], manifest["metadata"]["name"])


def test_the_migration_comes_before_the_pods_and_needs_nothing_of_the_release() -> None:
    job = find(render(values_of("production")), "Job", "demo-plaudit-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert "serviceAccountName" not in job["spec"]["template"]["spec"]


def test_the_alerts_and_dashboards_in_the_chart_are_those_of_deploy() -> None:
    manifests = render(values_of("production"))
    rules = find(manifests, "PrometheusRule", "demo-plaudit")["spec"]
    assert rules == yaml.safe_load((DEPLOY / "alerts" / "plaudit.rules.yaml").read_text())
    boards = find(manifests, "ConfigMap", "demo-plaudit-dashboards")["data"]
    for name, text in boards.items():
        assert text == (DEPLOY / "grafana" / "dashboards" / name).read_text()
    assert "pipeline.json" in boards


def test_notes_tell_the_next_step() -> None:
    assert "exec deploy/demo-plaudit-ingest -- plaudit keys add" in notes(values_of("small"))
    assert "https://feedback.example.com" in notes(values_of("production"))
    assert "set worker.autoscaling.enabled" in notes(values_of("small"))


@pytest.mark.parametrize(
    "change",
    [
        {"secrets": {"name": ""}},
        {"worker": {"replicas": 0}},
        {"worker": {"typo": 1}},
        {"ingest": {"service": {"port": 70000}}},
        {"settings": {"REDIS_URL": "redis://secret@host"}},
        {"settings": {"lower_case": "1"}},
        {"tracing": {"enabled": True, "endpoint": "collector:4318"}},
        {"tracing": {"sampleRatio": 2}},
        {"tracing": {"resourceAttributes": {"a": "b,c=d"}}},
        {"ingress": {"ingest": {"paths": [{"path": "no-slash", "pathType": "Prefix"}]}}},
    ],
    ids=str,
)
def test_wrong_values_are_refused(change: dict[str, Any]) -> None:
    values = copy.deepcopy(values_of("small")) | change
    with pytest.raises(helm.HelmError):
        render(values)


def test_a_trigger_on_prometheus_needs_its_address() -> None:
    values = values_of("small") | {"worker": {"autoscaling": {"enabled": True, "trigger": "prometheus"}}}
    with pytest.raises(helm.HelmError, match="prometheusAddress"):
        render(values)


def test_chart_application_and_package_have_one_version() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
