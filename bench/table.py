"""The table for people and the file for scripts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Outcome
from bench.machine import describe

RESULTS = Path(__file__).with_name("results")


class Report:
    """Collects the outcomes of a run, and writes the file after each, so that a broken run leaves what it has."""

    def __init__(self, path: Path, command: str) -> None:
        self._path = path
        self._figures: list[tuple[str, Figure]] = []
        self._json: dict[str, Any] = {
            "command": command,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": describe(),
            "measurements": {},
        }

    def add(self, name: str, outcome: Outcome, *, seconds: float, load_before: float) -> None:
        """``load_before``: processes that wanted a core in the minute before, by the system's count."""
        self._figures += [(name, figure) for figure in outcome.figures]
        self._json["measurements"][name] = {
            "seconds": round(seconds, 1),
            "command": f"python -m bench --only {name}",
            "load_average_before": load_before,
            "load_average_after": os.getloadavg()[0],
            **outcome.as_json(),
        }
        self._path.parent.mkdir(exist_ok=True)
        self._path.write_text(json.dumps(_rounded(self._json), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @property
    def missed(self) -> list[str]:
        """What fell short of a must."""
        return [figure.what for _, figure in self._figures if figure.reaches(figure.must) is False]

    def show(self, console: Console) -> None:
        table = Table(title="Plaudit measured", show_lines=True)
        for name in ("", "what", "value", "must", "aim", "ours", "ceiling"):
            table.add_column(name, overflow="fold", justify="right" if name in ("value", "must", "aim") else "left")
        for name, figure in self._figures:
            table.add_row(
                name,
                figure.what,
                f"[bold {_colour(figure)}]{_number(figure.value)} {figure.unit}[/]",
                _wanted(figure, figure.must),
                _wanted(figure, figure.aim),
                figure.ours,
                figure.ceiling,
            )
        console.print(table)
        console.print(f"written to {self._path}")


def _colour(figure: Figure) -> str:
    if figure.reaches(figure.must) is False:
        return "red"
    return "yellow" if figure.reaches(figure.aim) is False else "green"


def _wanted(figure: Figure, wanted: float | None) -> str:
    if wanted is None:
        return ""
    return f"{'≥' if figure.better == 'higher' else '≤'} {_number(wanted)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rounded(value: Any) -> Any:
    """Four digits are more than the machine repeats."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
