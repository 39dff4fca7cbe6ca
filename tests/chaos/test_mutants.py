"""The suite can fail: faults planted in a copy of the project are caught, each by a scenario, for the right reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.integration]

ROOT = Path(__file__).resolve().parents[2]

KILLED_IN_FLIGHT = (
    "tests/chaos/test_clickhouse_faults.py::test_a_worker_killed_while_its_insert_is_on_the_way_loses_nothing"
)
DUPLICATES = "tests/chaos/test_workers.py::test_half_of_it_duplicates_and_a_third_corrections_come_out_exact"

DELIVERY = "services/worker/delivery.py"
INSERT = "        refused = await self._writer.write(prepared.rows, spans.failed)\n"

ONE_STATE_A_TRACE = """\
CREATE OR REPLACE VIEW feedback_current ${on_cluster} AS
SELECT project_id, source, trace_id,
       argMax(e.vote, e.ord) AS vote, argMax(e.comment, e.ord) AS comment,
       argMaxIf(e.ord.1, e.ord, e.vote IS NOT NULL) AS vote_time,
       uniqExact(e.dedupe_id) AS events, max(e.received_at) AS last_received
FROM (SELECT *, (least(timestamp, received_at), received_at, dedupe_id) AS ord FROM feedback_events) AS e
GROUP BY project_id, source, trace_id
COMMENT 'What one argMax state for each trace would say, fed by every delivery.';
"""


@dataclass(frozen=True)
class Mutant:
    """A fault: in ``file``, ``old`` is replaced by ``new``; where there is no ``old``, the file is new.

    caught_by: the scenario. words: what its failure must say.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: str
    words: str


MUTANTS = [
    Mutant(
        "acknowledge before insert",
        DELIVERY,
        INSERT,
        "        await self._settle(entries)\n" + INSERT,
        KILLED_IN_FLIGHT,
        "{'lost':",
    ),
    Mutant(
        "mark before insert",
        DELIVERY,
        INSERT,
        "        if self._window:\n            await self._window.mark(fresh)\n" + INSERT,
        KILLED_IN_FLIGHT,
        "{'lost':",
    ),
    Mutant(
        "acknowledge without delete",
        "shared/streams.py",
        "pipe.xdel(stream, *entry_ids)",
        "pipe.xlen(stream)",
        DUPLICATES,
        "entries are left in the log",
    ),
    Mutant(
        "entry id as identity",
        "shared/events.py",
        "blake2b(identity,",
        "blake2b(receipt.entry_id.encode() + _length(index),",
        DUPLICATES,
        "'twice':",
    ),
    Mutant(
        "one argMax state a trace",
        "shared/migrations/9999_mutant.sql",
        "",
        ONE_STATE_A_TRACE,
        DUPLICATES,
        "'current_wrong':",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_planted_fault_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for part in ("services", "shared", "tests"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "browser"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    _plant(mutant, copy)
    environment = os.environ | {"PYTHONPATH": str(copy), "PLAUDIT_CHAOS_PATIENCE": "6"}
    arguments = ["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'base'}", mutant.caught_by]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout[-3000:]
    assert mutant.words in ended.stdout, ended.stdout[-3000:]


def _plant(mutant: Mutant, copy: Path) -> None:
    file = copy / mutant.file
    if not mutant.old:
        file.write_text(mutant.new, encoding="utf-8")
        return
    text = file.read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1, f"{mutant.file} has changed: the fault cannot be planted"
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
