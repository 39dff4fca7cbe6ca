"""Requests and stream entries for the measurements, by the load generator's own writers: seeded, alike every time."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterable, Iterator
from random import Random

import msgspec

from bench.pieces import LANGWATCH_KEY, LUNARY_KEY, PROJECT
from services.loadgen import langwatch_acts, lunary_acts
from services.loadgen.clock import ClientClock
from services.loadgen.options import LoadOptions
from services.loadgen.plan import make_plan
from services.loadgen.reading import LANGWATCH
from services.loadgen.requests import Prebuilt
from services.loadgen.workload import lane_steps
from shared.envelope import Envelope, RawEvent, encode
from shared.formats.lunary_batch import split

_LANES = 512
"""A lane of the load generator rests for 2 ms between requests; so many keep 64 connections busy."""

_LANGWATCH_HEAD = (
    f"POST /api/track_event HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Auth-Token: {LANGWATCH_KEY}\r\n"
    "Content-Type: application/json\r\nContent-Length: "
)
_LUNARY_HEAD = (
    "POST /v1/runs/ingest HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nAccept-Language: *\r\n"
    f"Sec-Fetch-Mode: cors\r\nUser-Agent: node\r\nAuthorization: Bearer {LUNARY_KEY}\r\n"
    "Content-Type: application/json\r\nContent-Length: "
)


def langwatch_bodies(count: int, seed: int = 1) -> Iterator[bytes]:
    """One act each: mostly votes, some with comments, ids, users."""
    random = Random(seed)
    for number in range(count):
        clock = ClientClock(random, time.time_ns() // 1000)
        act = langwatch_acts.new_act(random, f"trace_{seed:04x}{number:024x}", clock.tell(random))
        yield langwatch_acts.render(act, random)


def lunary_feedback(count: int, seed: int = 2) -> Iterator[bytes]:
    """Feedback events as the SDKs write them."""
    random = Random(seed)
    styles = (lunary_acts.Style.JAVASCRIPT, lunary_acts.Style.JAVASCRIPT, lunary_acts.Style.PYTHON)
    for number in range(count):
        clock = ClientClock(random, time.time_ns() // 1000)
        run = f"{seed:08x}-0000-4abc-8def-{number:012x}"
        yield lunary_acts.render(lunary_acts.new_act(random, run, styles[number % 3], clock.tell(random)))


def lunary_bodies(count: int, events: int, seed: int = 2) -> Iterator[bytes]:
    """Requests of so many feedback events each."""
    feedback = lunary_feedback(count * events, seed)
    for _ in range(count):
        yield b'{"events":[' + b",".join([next(feedback) for _ in range(events)]) + b"]}"


def lunary_traffic(count: int, feedback_share: float = 0.02, seed: int = 3) -> Iterator[bytes]:
    """An application's ordinary traffic: one event a request, runs with prompts of 2 kB, now and then feedback."""
    random = Random(seed)
    feedback = lunary_feedback(count, seed)
    started = time.time_ns() // 1000
    every = round(1 / feedback_share)
    for number in range(count):
        event = next(feedback) if number % every == 0 else _run_event(random, number, started)
        yield b'{"events":[' + event + b"]}"


def _run_event(random: Random, number: int, started: int) -> bytes:
    """A run's start or end; the generator's other events (chats, empty feedback) are passed over."""
    while True:
        event = lunary_acts.not_feedback(random, f"00000003-0000-4abc-8def-{number:012x}", started)
        if len(event) > 1500:
            return event


def prebuilt(bodies: Iterable[bytes], *, lunary: bool, count: int) -> Prebuilt:
    """``count`` whole requests; ``bodies`` are gone through again and again until there are enough."""
    head = _LUNARY_HEAD if lunary else _LANGWATCH_HEAD
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    whole = [requests[number % len(requests)] for number in range(count)]
    ends = array("Q")
    end = 0
    for request in whole:
        end += len(request)
        ends.append(end)
    lanes = min(_LANES, count)
    first = [count * lane // lanes for lane in range(lanes + 1)]
    ones = array("L", [1]) * count
    return Prebuilt(range(lanes), first, ends, ones, bytearray(b"\1" * count), ones, b"".join(whole))


def entries(events: int, *, batch: int = 1, received_at: int, seed: int = 1) -> Iterator[bytes]:
    """Payloads of stream entries.

    With ``batch`` 1 the mix of both vendors that the load generator sends (corrections and undo, no repetitions); above
    it, Lunary's with so many events each. What only a lenient reader reads is left out: the bare loop would end on it.
    """
    if batch > 1:
        feedback = filter(is_plain, lunary_feedback(2 * events, seed))
        for _ in range(events // batch):
            raws = [RawEvent(index, next(feedback)) for index in range(batch)]
            yield encode(Envelope(PROJECT, "lunary", os.urandom(16), received_at, raws))
        return
    options = LoadOptions(events=events, seed=seed, duplicates=0.0, lunary_other=0.0, lunary_batch="1=1")
    plan = make_plan(options, run=f"{seed:08x}", started=received_at)
    for lane in range(plan.lanes):
        for step in lane_steps(plan, lane):
            raws = (
                [RawEvent(0, step.body)]
                if step.source == LANGWATCH
                else [RawEvent(item.place, item.raw) for item in split(step.body) if item.raw is not None]
            )
            if raws and is_plain(step.body):
                yield encode(Envelope(PROJECT, step.source, os.urandom(16), received_at, raws))


def is_ordinary(text: bytes) -> bool:
    """Whether even a handler without care for odd clocks and texts takes it."""
    return is_plain(text) and 1e12 < msgspec.json.decode(text).get("timestamp", 2e12) < 4e12


def is_plain(text: bytes) -> bool:
    """Whether a strict reader reads it."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
