"""What OpenTelemetry's traces cost where one request in a hundred is traced, against none of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from msgspec.structs import replace as changed

from bench.backlog import BacklogWriter
from bench.bodies import entries, langwatch_bodies, prebuilt
from bench.doors import measured, told
from bench.drains import Drain
from bench.figures import Figure, Outcome, interleaved, medians, paired_ratio
from bench.machine import OTHER_CORE
from bench.pieces import Stage, ceiling_spec, door_spec, running, stage
from services.loadgen.requests import Prebuilt
from services.standalone.process import free_port
from shared.envelope import decode, encode

_ROUNDS = 5
_REQUESTS = 60_000
_DISTINCT = 4_000
_ENTRIES = 160_000
_ONE_IN = 100


def _on(collector: int) -> Mapping[str, str]:
    return {
        "PLAUDIT_OTEL_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(1 / _ONE_IN),
    }


@contextmanager
def _collector(made: Stage) -> Iterator[int]:
    """The port of something that takes whatever it gets, on the other core."""
    port = free_port()
    with running(ceiling_spec("fixed_answers", str(port), port=port), made.folder, OTHER_CORE):
        yield port


def _door(requests: Prebuilt, made: Stage, environment: Mapping[str, str]) -> dict[str, Any]:
    port = free_port()
    spec = door_spec(port, made.backends)
    return measured(replace(spec, env={**spec.env, **environment}), port, requests, made)


def door() -> Outcome:
    """LangWatch's one event a request, whose senders say nothing of traces."""
    outcome = Outcome()
    requests = prebuilt(langwatch_bodies(_DISTINCT), lunary=False, count=_REQUESTS)
    with stage() as made, _collector(made) as collector:
        sides: dict[str, Callable[[], dict[str, Any]]] = {
            "off": partial(_door, requests, made, {}),
            "on": partial(_door, requests, made, _on(collector)),
        }
        results = interleaved(_ROUNDS, sides, outcome.runs)
    on, off = results["on"], results["off"]
    outcome.figures = [
        Figure(
            what="ingest, one event a request, 1 in 100 traced: requests/s against without",
            value=paired_ratio(on, off, "requests_per_second"),
            unit="x",
            ours=told(on),
            ceiling=told(off),
        ),
        Figure(
            what="the same: by processor time a request, sending spans included",
            value=paired_ratio(off, on, "server_cpu_us_per_request"),
            unit="x",
            ours=told(on),
            ceiling=told(off),
        ),
    ]
    return outcome


def _some_traced(payloads: Iterable[bytes]) -> Iterator[bytes]:
    for number, payload in enumerate(payloads):
        if number % _ONE_IN:
            yield payload
        else:
            traceparent = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01".encode()
            yield encode(changed(decode(payload), traceparent=traceparent))


def worker() -> Outcome:
    """Entries of one event, of which 1 in 100 carries a trace."""
    outcome = Outcome()
    with stage() as made, _collector(made) as collector:
        backlog = BacklogWriter(made)
        received = 1_795_000_000_000_000
        written = backlog.write("template:traced", _some_traced(entries(_ENTRIES, received_at=received)))
        drain = Drain(made, backlog, "template:traced", written, written)
        sides: dict[str, Callable[[], dict[str, Any]]] = {
            "off": partial(drain.ours, 1),
            "on": partial(drain.ours, 1, _on(collector)),
        }
        results = interleaved(4, sides, outcome.runs)
    on, off = results["on"], results["off"]
    outcome.figures = [
        Figure(
            what="worker, entries of one event, 1 in 100 traced: events/s against without",
            value=paired_ratio(on, off, "events_per_second"),
            unit="x",
            ours=_told(on),
            ceiling=_told(off),
        ),
        Figure(
            what="the same: by processor time an event, sending spans included",
            value=paired_ratio(off, on, "cpu_us_per_event"),
            unit="x",
            ours=_told(on),
            ceiling=_told(off),
        ),
    ]
    return outcome


def _told(results: list[dict[str, Any]]) -> str:
    return (
        f"{medians(results, 'events_per_second'):,.0f} events/s, "
        f"{medians(results, 'cpu_us_per_event'):.1f} µs of its core an event"
    )
