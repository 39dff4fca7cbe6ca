"""The alert rules: each fires on what it is for, names metrics that exist, and has its section in the runbook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.telemetry import IngestMetrics, RelayMetrics, WorkerMetrics

from .tools import DEPLOY, ROOT, run

_CASES = Path(__file__).parent / "alerts.test.yaml"
_RUNBOOK = ROOT / "docs" / "runbook.md"
_OURS = re.compile(r"\bplaudit_[a-z_]+")
_SUFFIXES = ("", "_total", "_bucket", "_count", "_sum")


def alerts(rules: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load(rules.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metric_names() -> set[str]:
    """Of everything that the doors and the workers tell, as Prometheus stores it."""
    door = IngestMetrics()
    RelayMetrics(door.registry)
    found = {family.name for metrics in (door, WorkerMetrics()) for family in metrics.registry.collect()}
    return {f"{name}{suffix}" for name in found for suffix in _SUFFIXES}


def test_promtool_accepts_the_rules_and_every_case_comes_out_as_written(
    promtool: str, rules: Path, tmp_path: Path
) -> None:
    run(promtool, "check", "rules", str(rules))
    cases = tmp_path / "cases.yaml"
    cases.write_text(_CASES.read_text().replace("RULES", str(rules)))
    assert "SUCCESS" in run(promtool, "test", "rules", str(cases))


def test_every_alert_fires_in_some_case(rules: Path) -> None:
    fired = set()
    for case in yaml.safe_load(_CASES.read_text())["tests"]:
        fired |= {expected["alertname"] for expected in case.get("alert_rule_test", []) if expected["exp_alerts"]}
    assert fired == {rule["alert"] for rule in alerts(rules)}


def test_every_metric_that_a_rule_names_is_one_that_we_tell(rules: Path) -> None:
    named = {name for rule in alerts(rules) for name in _OURS.findall(rule["expr"])}
    assert named
    assert named <= metric_names()


def test_every_metric_on_the_pipeline_dashboard_is_one_that_we_tell() -> None:
    text = (DEPLOY / "grafana" / "dashboards" / "pipeline.json").read_text()
    json.loads(text)
    named = set(_OURS.findall(text))
    assert len(named) > 15
    assert named <= metric_names()


def test_every_alert_has_its_section_in_the_runbook_and_no_section_is_left_over(rules: Path) -> None:
    sections = re.findall(r"^## (Plaudit\w+)$", _RUNBOOK.read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in alerts(rules)]
    for rule in alerts(rules):
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}


@pytest.mark.parametrize("name", ["compose/prometheus.yaml"])
def test_prometheus_accepts_the_configuration(promtool: str, name: str) -> None:
    run(promtool, "check", "config", "--syntax-only", str(DEPLOY / name))
