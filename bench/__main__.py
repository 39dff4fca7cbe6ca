"""``python -m bench``: all measurements, or one of them; a table and a JSON file.

Load goes to this machine only, from two cores. Other work on it shows in the absolute figures; the ratios are of
runs in turn, so it hits both sides.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from bench import doors, pipeline, relays, tracing, workers
from bench.figures import Outcome
from bench.table import RESULTS, Report

MEASUREMENTS: Mapping[str, Callable[[], Outcome]] = {
    "load-generator": doors.load_generator,
    "door-single": doors.single_events,
    "door-single-lunary": doors.single_lunary_events,
    "door-batches": doors.batches,
    "door-traffic": doors.ordinary_traffic,
    "door-fsynced": doors.fsynced,
    "relay-single": relays.single_events,
    "relay-traffic": relays.ordinary_traffic,
    "relay-learning": relays.learning,
    "worker-single": workers.single_entries,
    "worker-hundreds": workers.hundreds,
    "worker-hurried": workers.hurried_team,
    "worker-million": workers.million,
    "delay": pipeline.delay,
    "parts": pipeline.parts,
}
LONG: Mapping[str, Callable[[], Outcome]] = {
    "parts-10-minutes": pipeline.parts_for_ten_minutes,
    "tracing-door": tracing.door,
    "tracing-worker": tracing.worker,
}
"""Run by name only."""


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Names: {', '.join([*MEASUREMENTS, *LONG])}.")] = None,
    results: Annotated[Path | None, typer.Option(help="Where the JSON goes; by default bench/results.")] = None,
) -> None:
    """Measure Plaudit against its ceilings. A must that is not met makes the exit status 1."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console()
    known = {**MEASUREMENTS, **LONG}
    chosen = only or list(MEASUREMENTS)
    if unknown := [name for name in chosen if name not in known]:
        raise typer.BadParameter(f"no measurement is called {unknown[0]!r}; there are {', '.join(known)}")
    path = results or RESULTS / ("latest.json" if only is None else f"{'+'.join(chosen)}.json")
    report = Report(path, "python -m bench" + "".join(f" --only {name}" for name in only or ()))
    for name in chosen:
        load, started = os.getloadavg()[0], time.monotonic()
        with console.status(f"{name} …"):
            outcome = known[name]()
        seconds = time.monotonic() - started
        report.add(name, outcome, seconds=seconds, load_before=load)
        console.print(f"{name}: {seconds:.0f} s", highlight=False)
    report.show(console)
    if missed := report.missed:
        console.print("below a must: " + "; ".join(missed), style="red")
        raise typer.Exit(1)


if __name__ == "__main__":
    command = typer.Typer(pretty_exceptions_enable=False)
    command.command()(main)
    command()
