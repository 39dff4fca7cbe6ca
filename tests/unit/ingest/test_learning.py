from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any

from services.ingest_api.learning import Learner
from services.ingest_api.minting import Minter
from shared.envelope import Envelope
from shared.errors import StoreUnavailableError
from shared.formats.lunary_batch import BatchReader
from shared.formats.lunary_runs import RunHead, python_run_id, records
from shared.telemetry import IngestMetrics
from shared.traces import TRACES, TraceRecord, unpack

_READER = BatchReader(RunHead)
_KEY = "11111111-2222-4333-8444-555555555555"


class _Log:
    def __init__(self) -> None:
        self.taken: list[tuple[str, TraceRecord]] = []
        self.away = False

    async def append(self, envelopes: Sequence[Envelope]) -> None:
        if self.away:
            raise StoreUnavailableError("redis", "away")
        for envelope in envelopes:
            assert envelope.source == TRACES
            self.taken += [(envelope.project_id, record) for piece in envelope.events for record in unpack(piece)]


def _learner(log: _Log, **limits: int) -> Learner:
    return Learner(
        log,
        Minter(lambda: 1, bytes),
        IngestMetrics(),
        metadata_names=["release"],
        part_bytes=100_000,
        known=limits.get("known", 1000),
        waiting=limits.get("waiting", 1000),
        pause=0.0,
    )


def _body(*events: dict[str, Any]) -> bytes:
    return json.dumps({"events": list(events)}).encode()


def _start(run_id: str, **more: Any) -> dict[str, Any]:
    return {"event": "start", "type": "agent", "runId": run_id, "name": "bot", **more}


async def _appended(learner: Learner) -> None:
    """One turn of its loop."""
    task = asyncio.create_task(learner.run())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _learn(learner: Learner, body: bytes) -> None:
    heads = _READER.read(body).heads
    learner.learn_runs(learner.read_runs(heads, _KEY), lambda app_id: app_id or "own")


async def test_what_is_learnt_is_appended_once_by_project() -> None:
    log = _Log()
    learner = _learner(log)
    for _ in range(3):
        _learn(learner, _body(_start("r1"), _start("r2", appId="theirs")))
        await _appended(learner)
    assert [(project, record.trace_id) for project, record in log.taken] == [("own", "r1"), ("theirs", "r2")]


async def test_what_the_log_does_not_take_waits_bounded() -> None:
    log = _Log()
    log.away = True
    learner = _learner(log, waiting=5)
    for number in range(20):
        _learn(learner, _body(_start(f"r{number}")))
    await _appended(learner)
    assert log.taken == []
    log.away = False
    await _appended(learner)
    assert len(log.taken) == 5


async def test_memory_of_what_is_known_is_bounded_and_forgetting_costs_only_work() -> None:
    log = _Log()
    learner = _learner(log, known=2)
    for name in ("a", "b", "c", "a"):
        _learn(learner, _body(_start(name)))
    await _appended(learner)
    assert [record.trace_id for _, record in log.taken] == ["a", "b", "c", "a"]


def _read(*events: dict[str, Any], token: str = _KEY) -> list[TraceRecord]:
    return [found.record for found in records(_READER.read(_body(*events)).heads, token, ["release"])]


def _chat(run_id: str, message_id: Any, **more: Any) -> dict[str, Any]:
    return {"event": "chat", "type": "thread", "runId": run_id, "message": {"id": message_id, "content": "x"}, **more}


def test_the_run_id_of_python_is_that_of_its_sdk() -> None:
    import lunary.utils  # the SDK's own function, as it is installed

    assert python_run_id("msg-é", _KEY) == str(lunary.utils.create_uuid_from_string("msg-é" + _KEY))


def test_an_alias_is_believed_only_where_it_is_the_hash_of_the_message() -> None:
    hashed = python_run_id("m", _KEY)
    assert [record.alias_of for record in _read(_chat(hashed, "m"))] == ["m"]
    other = "22222222-2222-4333-8444-555555555555"
    assert [record.alias_of for record in _read(_chat(python_run_id("m", other), "m", appId=other))] == ["m"]
    assert _read(_chat(hashed, "another")) == []
    assert _read(_chat("m", "m")) == []
    assert _read(_chat(hashed, 5)) == []
    assert _read(_chat(hashed, "m"), token="another key") == []


def test_a_models_call_counts_for_the_run_that_people_judge() -> None:
    found = _read({"event": "start", "type": "llm", "runId": "call", "parentRunId": "answer", "name": "gpt-5"})
    assert [(record.trace_id, record.model) for record in found] == [("call", "gpt-5"), ("answer", "gpt-5")]


def test_only_listed_metadata_and_no_text_is_kept() -> None:
    (found,) = _read(
        _start("r", metadata={"release": "r7", "x": "secret"}, input="secret", tags=["b", "a", "a"], userId="ada")
    )
    assert found.metadata == (("release", "r7"),)
    assert found.tags == ("a", "b")
    assert "secret" not in repr(found)
    (long,) = _read(_start("r", name="n" * 10_000))
    assert len(long.name) == 200


def test_what_is_odd_is_skipped_and_never_fails() -> None:
    assert _read(_start("r", name=[], userId={}, tags="x", metadata=[1], templateId=True)) != []
    assert _READER.read(b'{"events":[{"event":"start","name":"\\ud800"}]}').heads == []
    assert _read({"event": "chat", "type": "thread", "message": 5}) == []
    assert _read({"event": "start", "runId": 5}, {"event": "end", "runId": "r"}, _start("r", type="tool")) == []
