"""Measurements of the door: one core for it, the other for load, Redis and ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from redis import Redis

from bench.bodies import langwatch_bodies, lunary_bodies, lunary_traffic, prebuilt
from bench.figures import Figure, Outcome, interleaved, medians, paired_ratio
from bench.flood import CONNECTIONS, flood
from bench.pieces import Stage, ceiling_spec, cpu_seconds, door_spec, running, stage
from services.loadgen.requests import Prebuilt
from services.standalone.process import ProcessSpec, free_port
from shared.streams import partitions

_ROUNDS = 5
_DISTINCT = 4_000
_SINGLES = 60_000
_BATCHES = 2_000


def _door(requests: Prebuilt, made: Stage, **settings: str) -> dict[str, Any]:
    port = free_port()
    redis = Redis.from_url(made.backends.redis_url)
    stream = partitions(made.redis)[0]
    try:
        redis.delete(stream)
        # What the door writes of its own accord (copies of keys) is there before it is counted.
        result = measured(door_spec(port, made.backends, **settings), port, requests, made)
        result["log_bytes_per_request"] = (redis.memory_usage(stream, samples=0) or 0) / requests.count
        return result
    finally:
        redis.delete(stream)
        redis.close()


def _empty(requests: Prebuilt, made: Stage) -> dict[str, Any]:
    port = free_port()
    return measured(ceiling_spec("empty_app", str(port), port=port), port, requests, made)


def _fixed(requests: Prebuilt, made: Stage) -> dict[str, Any]:
    port = free_port()
    return measured(ceiling_spec("fixed_answers", str(port), port=port), port, requests, made)


def measured(
    spec: ProcessSpec, port: int, requests: Prebuilt, made: Stage, before_stop: Callable[[], None] | None = None
) -> dict[str, Any]:
    """One flood on a server of its own. ``before_stop``: called when it is over and the server still there."""
    with running(spec, made.folder) as server:
        flood(_first(requests, 2_000), port)
        before = cpu_seconds(server.pid)
        result = flood(requests, port)
        result["server_cpu_us_per_request"] = (cpu_seconds(server.pid) - before) / requests.count * 1e6
        if before_stop is not None:
            before_stop()
    return result


def _first(requests: Prebuilt, count: int) -> Prebuilt:
    """A few of them, to warm up."""
    count = min(count, requests.count)
    lanes = min(len(requests.lanes), count)
    return Prebuilt(
        range(lanes),
        [count * lane // lanes for lane in range(lanes + 1)],
        requests.ends[:count],
        requests.acts[:count],
        requests.copies[:count],
        requests.checksums[:count],
        requests.data,
    )


def told(results: list[dict[str, Any]]) -> str:
    """The absolute figures behind a ratio."""
    rate = medians(results, "requests_per_second")
    return (
        f"{rate:,.0f} requests/s, p99 {medians(results, 'p99_us') / 1000:.1f} ms, "
        f"{medians(results, 'server_cpu_us_per_request'):.0f} µs of its core a request"
    )


def _against_empty(
    what: str, requests: Prebuilt, must: tuple[float, float | None], aim: tuple[float, float | None]
) -> Outcome:
    outcome = Outcome()
    with stage() as made:
        results = interleaved(
            _ROUNDS, {"empty": partial(_empty, requests, made), "ours": partial(_door, requests, made)}, outcome.runs
        )
    ours, empty = results["ours"], results["empty"]
    ours_told, empty_told = told(ours), told(empty)
    outcome.figures = [
        Figure(
            what=f"{what}: requests/s against the empty app",
            value=paired_ratio(ours, empty, "requests_per_second"),
            unit="x",
            must=must[0],
            aim=aim[0],
            ours=ours_told,
            ceiling=empty_told,
        ),
        Figure(
            what=f"{what}: by processor time a request (what the machine's other load does not touch)",
            value=paired_ratio(empty, ours, "server_cpu_us_per_request"),
            unit="x",
            ours=ours_told,
            ceiling=empty_told,
        ),
    ]
    if must[1] is not None:
        outcome.figures.append(
            Figure(
                what=f"{what}: p99 against the empty app's",
                value=paired_ratio(ours, empty, "p99_us"),
                unit="x",
                must=must[1],
                aim=aim[1],
                better="lower",
                ours=ours_told,
                ceiling=empty_told,
            )
        )
    return outcome


def single_events() -> Outcome:
    """LangWatch's one event a request."""
    requests = prebuilt(langwatch_bodies(_DISTINCT), lunary=False, count=_SINGLES)
    return _against_empty(f"ingest, one event a request, {CONNECTIONS} connections", requests, (0.55, 4.0), (0.70, 2.5))


def single_lunary_events() -> Outcome:
    """The same for Lunary: results by run, in the order of time."""
    requests = prebuilt(lunary_bodies(_DISTINCT, 1), lunary=True, count=_SINGLES)
    outcome = _against_empty("ingest, one Lunary feedback a request", requests, (0.0, None), (0.0, None))
    outcome.figures = [_unasked(figure) for figure in outcome.figures]
    return outcome


def _unasked(figure: Figure) -> Figure:
    return Figure(what=figure.what, value=figure.value, unit=figure.unit, ours=figure.ours, ceiling=figure.ceiling)


def batches() -> Outcome:
    """Lunary requests of 100 feedback events."""
    outcome = Outcome()
    requests = prebuilt(lunary_bodies(_BATCHES // 10, 100), lunary=True, count=_BATCHES)
    with stage() as made:
        results = interleaved(
            3, {"empty": partial(_empty, requests, made), "ours": partial(_door, requests, made)}, outcome.runs
        )
    ours = results["ours"]
    cpu = medians(ours, "server_cpu_us_per_request") / 100
    outcome.figures = [
        Figure(
            what="ingest, Lunary batches of 100, one core: events/s",
            value=100 * medians(ours, "requests_per_second"),
            unit="/s",
            must=100_000,
            aim=200_000,
            ours=f"{cpu:.1f} µs of its core an event: {1e6 / cpu:,.0f} events/s of a core to itself",
            ceiling=f"the empty app takes {medians(results['empty'], 'requests_per_second'):,.0f} such requests/s",
        )
    ]
    return outcome


def ordinary_traffic() -> Outcome:
    """What a Lunary SDK sends all day: runs with their prompts, 2 % feedback."""
    bodies = list(lunary_traffic(_DISTINCT))
    requests = prebuilt(bodies, lunary=True, count=_SINGLES // 2)
    what = "a Lunary SDK's ordinary traffic (2 kB prompts, 2 % feedback)"
    outcome = _against_empty(what, requests, (0.45, None), (0.60, None))
    feedback = [len(body) for body in bodies if b'"feedback"' in body]
    sent = sum(map(len, bodies)) / len(bodies)
    held = medians([run for run in outcome.runs if run["side"] == "ours"], "log_bytes_per_request")
    outcome.figures.append(
        Figure(
            what="the same: bytes in the log a request, against its feedback's bytes",
            value=held / (sum(feedback) / len(bodies)),
            unit="x",
            must=3.0,
            better="lower",
            ours=f"{held:.1f} bytes a request, Redis's own included, of {sent:,.0f} sent",
            ceiling=f"{sum(feedback) / len(bodies):.1f} bytes a request are feedback",
        )
    )
    return outcome


def fsynced() -> Outcome:
    """Appends that are on the disk before the 200, against appends that Redis has acknowledged."""
    outcome = Outcome()
    requests = prebuilt(langwatch_bodies(_DISTINCT), lunary=False, count=_SINGLES // 2)
    with stage(appendfsync="always") as on_disk, stage() as in_memory:
        results = interleaved(
            _ROUNDS,
            {
                "acknowledged": partial(_door, requests, in_memory),
                "fsynced": partial(_door, requests, on_disk, INGEST_DURABILITY="fsynced"),
            },
            outcome.runs,
        )
    outcome.figures = [
        Figure(
            what=f"ingest, fsynced against acknowledged, {CONNECTIONS} connections",
            value=paired_ratio(results["fsynced"], results["acknowledged"], "requests_per_second"),
            unit="x",
            must=0.5,
            aim=0.8,
            ours=told(results["fsynced"]),
            ceiling=told(results["acknowledged"]),
        )
    ]
    return outcome


def load_generator() -> Outcome:
    """Whether one core of load generator drives twice what it measures."""
    outcome = Outcome()
    requests = prebuilt(langwatch_bodies(_DISTINCT), lunary=False, count=_SINGLES)
    sides: dict[str, Callable[[], dict[str, Any]]]
    with stage() as made:
        sides = {
            "fixed answers": partial(_fixed, requests, made),
            "empty": partial(_empty, requests, made),
            "ours": partial(_door, requests, made),
        }
        results = interleaved(3, sides, outcome.runs)
    spent = [run["client_cpu_share"] * run["seconds"] / requests.count for run in results["fixed answers"]]
    drives = 1 / min(spent)
    ours = 1e6 / min(_cpu(results["ours"]))
    outcome.figures = [
        Figure(
            what="load generator, one core: requests/s that it drives against what the door takes on one core",
            value=drives / ours,
            unit="x",
            must=2.0,
            ours=f"{drives:,.0f} requests/s ({1e6 * min(spent):.1f} µs of its core a request)",
            ceiling=f"the door {ours:,.0f}, the empty app {1e6 / min(_cpu(results['empty'])):,.0f} requests/s of a core",
        )
    ]
    return outcome


def _cpu(results: Iterable[dict[str, Any]]) -> list[float]:
    return [result["server_cpu_us_per_request"] for result in results]
