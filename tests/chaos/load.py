"""Load from a process of its own, which writes what it sent and what was answered into an fsynced ledger; and the
judgement of that ledger against the tables.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from services.loadgen.main import run as run_loadgen
from services.loadgen.options import LoadOptions
from services.standalone.process import ProcessSpec, environment

_START_SECONDS = 30.0
_POLL = 0.02


@dataclass(frozen=True)
class Keys:
    """Of the project that the load is for."""

    project: str
    langwatch: str = field(repr=False)
    lunary: str = field(repr=False)


@dataclass(frozen=True)
class LoadShape:
    """What is sent: distinct acts at most (a scenario ends its load when it has seen enough), acts a second, and the
    shares as ``plaudit loadgen`` names them.
    """

    events: int = 15_000
    rate: float = 250
    duplicates: float = 0.15
    undo: float = 0.15
    corrections: float = 0.1
    connections: int = 32
    lunary_batch: str = "1=0.9,2-8=0.1"


@dataclass(frozen=True)
class Judgement:
    """Counts of distinct events; see the load generator's verdict."""

    accepted: int
    stored: int
    lost: int
    twice: int
    wrong: int
    current_wrong: int
    unexpected: int
    ambiguous_present: int
    ambiguous_absent: int
    samples: tuple[str, ...]

    @property
    def faults(self) -> dict[str, int]:
        """What must be zero and is not."""
        names = ("lost", "twice", "wrong", "current_wrong", "unexpected")
        return {name: count for name in names if (count := getattr(self, name))}


class Load:
    """A running load generator. ``folder`` takes its ledger and output."""

    def __init__(self, url: str, keys: Keys, shape: LoadShape, seed: int, folder: Path) -> None:
        self.shape = shape
        self.ledger = folder / f"ledger-{seed}.jsonl"
        self._output = folder / f"load-{seed}.json"
        options = {
            "--ingest-url": url,
            "--project": keys.project,
            "--langwatch-key": keys.langwatch,
            "--lunary-key": keys.lunary,
            "--ledger": str(self.ledger),
            "--events": str(shape.events),
            "--rate": str(shape.rate),
            "--duplicates": str(shape.duplicates),
            "--undo": str(shape.undo),
            "--corrections": str(shape.corrections),
            "--connections": str(shape.connections),
            "--lunary-batch": shape.lunary_batch,
            "--seed": str(seed),
        }
        arguments = [part for option in options.items() for part in option]
        argv = (sys.executable, "-P", "-m", "services.cli", "loadgen", "--json", *arguments)
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                argv, stdout=output, stderr=subprocess.STDOUT, env=environment(ProcessSpec("load", argv, lambda: True))
            )

    @property
    def sending(self) -> bool:
        return self._process.poll() is None

    def wait_sending(self, answers: int = 20) -> None:
        """Returns when it has been at work for a moment."""
        deadline = time.monotonic() + _START_SECONDS
        while self.answered() < answers:
            if not self.sending or time.monotonic() > deadline:
                raise AssertionError(f"the load did not start: {self._output.read_text()[-2000:]}")
            time.sleep(_POLL)

    def answered(self) -> int:
        """Answers in the ledger so far."""
        return self.ledger.read_bytes().count(b'\n["o",') if self.ledger.exists() else 0

    def wait(self, seconds: float = 120.0) -> dict[str, Any]:
        """What was sent, when all of it was."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise AssertionError(f"the load was not sent within {seconds:g} s") from None
        text = self._output.read_text()
        if status:
            raise AssertionError(f"the load generator ended with {status}: {text[-2000:]}")
        sent: dict[str, Any] = json.loads(text)["sent"]
        return sent

    def finish(self) -> None:
        """Tells it to send no more; what is under way is waited for."""
        if self.sending:
            self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """Ends it where it still runs; its ledger can be judged all the same."""
        if self.sending:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def judge(self, clickhouse_url: str, seconds: float) -> Judgement:
        """Holds the tables against the ledger; waits so many seconds for what was acknowledged."""
        text = io.StringIO()
        options = LoadOptions(verify_only=self.ledger, clickhouse_url=clickhouse_url, verify_timeout=seconds, json=True)
        run_loadgen(options, Console(file=text, width=200))
        verdict = json.loads(text.getvalue())["verified"]
        counts: dict[str, Any] = {name: verdict[name] for name in Judgement.__dataclass_fields__ if name != "samples"}
        return Judgement(**counts, samples=tuple(verdict["samples"]))


def patience(default: float) -> float:
    """Seconds to wait for what must come; a mutant that loses it need not be waited for as long."""
    return float(os.environ.get("PLAUDIT_CHAOS_PATIENCE", default))
