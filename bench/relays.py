"""What standing in front of the vendors costs the door: with the relay on, and with learning on, against without."""

from __future__ import annotations

import re
import urllib.request
from functools import partial
from typing import Any

from bench.bodies import langwatch_bodies, lunary_traffic, prebuilt
from bench.doors import measured, told
from bench.figures import Figure, Outcome, interleaved, medians, paired_ratio
from bench.machine import OTHER_CORE
from bench.pieces import Stage, ceiling_spec, door_spec, running, stage
from services.loadgen.requests import Prebuilt
from services.standalone.process import free_port

_ROUNDS = 5
_REQUESTS = 40_000
_DISTINCT = 4_000
_SAMPLE = re.compile(
    r'^plaudit_relay_(requests|dropped)_total\{[^}]*source="(?:langwatch|lunary)"[^}]*\} ([0-9.e+]+)$', re.MULTILINE
)


def _without(requests: Prebuilt, made: Stage, **settings: str) -> dict[str, Any]:
    port = free_port()
    return measured(door_spec(port, made.backends, **settings), port, requests, made)


def _with_vendor(requests: Prebuilt, made: Stage, upstream: str) -> dict[str, Any]:
    """The vendor answers at once, from the core where the load comes from."""
    vendor, port = free_port(), free_port()
    with running(ceiling_spec("fixed_answers", str(vendor), port=vendor), made.folder, OTHER_CORE):
        spec = door_spec(port, made.backends, **{upstream: f"http://127.0.0.1:{vendor}"})
        counts: dict[str, float] = {}
        result = measured(spec, port, requests, made, before_stop=lambda: counts.update(_counts(port)))
    return {**result, **counts}


def _counts(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    found = {"requests": 0.0, "dropped": 0.0}
    for name, value in _SAMPLE.findall(text):
        found[name] += float(value)
    return {"relayed": found["requests"], "relay_dropped": found["dropped"]}


def _against_off(what: str, requests: Prebuilt, upstream: str) -> Outcome:
    outcome = Outcome()
    with stage() as made:
        results = interleaved(
            _ROUNDS,
            {"off": partial(_without, requests, made), "on": partial(_with_vendor, requests, made, upstream)},
            outcome.runs,
        )
    on, off = results["on"], results["off"]
    gone = f"; relayed by its end {medians(on, 'relayed'):,.0f}, dropped {medians(on, 'relay_dropped'):,.0f}"
    outcome.figures = [
        Figure(
            what=f"{what}: requests/s with the relay against without",
            value=paired_ratio(on, off, "requests_per_second"),
            unit="x",
            must=0.7,
            ours=told(on) + gone,
            ceiling=told(off),
        ),
        Figure(
            what=f"{what}: by processor time a request, sending included",
            value=paired_ratio(off, on, "server_cpu_us_per_request"),
            unit="x",
            ours=told(on),
            ceiling=told(off),
        ),
    ]
    return outcome


def single_events() -> Outcome:
    """LangWatch's one event a request, each of which goes on."""
    requests = prebuilt(langwatch_bodies(_DISTINCT), lunary=False, count=_REQUESTS)
    return _against_off("relay, one event a request", requests, "LANGWATCH_UPSTREAM")


def ordinary_traffic() -> Outcome:
    """What a Lunary SDK sends all day, all of which goes on."""
    requests = prebuilt(list(lunary_traffic(_DISTINCT)), lunary=True, count=_REQUESTS // 2)
    return _against_off("relay, a Lunary SDK's ordinary traffic", requests, "LUNARY_UPSTREAM")


def learning() -> Outcome:
    """The same traffic, with records of traces learnt from it and without."""
    outcome = Outcome()
    requests = prebuilt(list(lunary_traffic(_DISTINCT)), lunary=True, count=_REQUESTS // 2)
    with stage() as made:
        results = interleaved(
            _ROUNDS,
            {
                "off": partial(_without, requests, made, TRACE_LEARNING="false"),
                "on": partial(_without, requests, made),
            },
            outcome.runs,
        )
    outcome.figures = [
        Figure(
            what="learning from a Lunary SDK's ordinary traffic: requests/s against without",
            value=paired_ratio(results["on"], results["off"], "requests_per_second"),
            unit="x",
            ours=told(results["on"]),
            ceiling=told(results["off"]),
        )
    ]
    return outcome
