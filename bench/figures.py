"""What a measurement comes to: figures with what they must and should reach."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table.

    value: what ``must`` and ``aim`` are about, in ``unit``. ours, ceiling: the absolute figures behind a ratio, in
    words with their units. better: which way is good.
    """

    what: str
    value: float
    unit: str
    must: float | None = None
    aim: float | None = None
    better: Literal["higher", "lower"] = "higher"
    ours: str = ""
    ceiling: str = ""

    def reaches(self, wanted: float | None) -> bool | None:
        """None where nothing is asked."""
        if wanted is None:
            return None
        return self.value >= wanted if self.better == "higher" else self.value <= wanted


@dataclass(slots=True)
class Outcome:
    """Figures of one measurement, and every single run behind them."""

    figures: list[Figure] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "figures": [
                {**asdict(figure), "must_met": figure.reaches(figure.must), "aim_met": figure.reaches(figure.aim)}
                for figure in self.figures
            ],
            "notes": self.notes,
            "runs": self.runs,
        }


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def interleaved(
    rounds: int, sides: Mapping[str, Callable[[], dict[str, Any]]], runs: list[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Runs every side in turn, so many times over: what else the machine does meanwhile hits all sides alike."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, run in sides.items():
            result = run()
            results[name].append(result)
            runs.append({"side": name, "round": number, **result})
    return results


def paired_ratio(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], key: str) -> float:
    """Median of the ratios of the pairs."""
    return median([mine[key] / other[key] for mine, other in zip(ours, theirs, strict=True)])


def medians(results: Sequence[dict[str, Any]], key: str) -> float:
    return median([result[key] for result in results])
