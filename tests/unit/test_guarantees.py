"""What docs/guarantees.md names is there: proofs, log lines, metrics, alerts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
_TABLE = _TEXT.partition("## When something fails")[2].partition("\n## ")[0]


def _all(folder: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((_ROOT / folder).rglob("*.py")))


@pytest.mark.parametrize("proof", sorted(set(re.findall(r"`(test_\w+)", _TEXT))))
def test_a_proof_that_is_named_is_a_test(proof: str) -> None:
    assert f"def {proof}" in _all("tests")


def test_what_the_operator_is_said_to_see_exists() -> None:
    code = _all("services") + _all("shared")
    alerts = (_ROOT / "deploy" / "alerts" / "plaudit.rules.yaml").read_text(encoding="utf-8")
    seen = {name for name in re.findall(r"`([a-z_]{4,})[`{]", _TABLE) if "_" in name and not name.startswith("test_")}
    assert len(seen) > 30
    assert sorted(name for name in seen if f'"{name}"' not in code) == []
    assert sorted(name for name in set(re.findall(r"Plaudit[A-Z]\w+", _TABLE)) if name not in alerts) == []
