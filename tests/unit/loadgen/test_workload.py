from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest

from services.loadgen.options import LoadOptions
from services.loadgen.plan import Plan, lunary_run, make_plan, trace_ranges
from services.loadgen.reading import read
from services.loadgen.workload import Step, lane_steps


def plan_of(run: str = "0a1b2c3d", **options: object) -> Plan:
    return make_plan(LoadOptions(**options), run=run, started=1_795_000_000_000_000)  # type: ignore[arg-type]


def all_steps(plan: Plan) -> list[Step]:
    return [step for lane in range(plan.lanes) for step in lane_steps(plan, lane)]


def test_the_same_plan_gives_the_same_bytes() -> None:
    plan = plan_of(events=3000, seed=7)
    assert all_steps(plan) == all_steps(plan)


def test_another_seed_gives_other_requests() -> None:
    assert all_steps(plan_of(events=500, seed=1)) != all_steps(plan_of(events=500, seed=2))


def test_another_run_sends_the_same_acts_about_other_traces() -> None:
    one, other = plan_of(events=500), plan_of(events=500, run="ffffffff")
    renamed = [step.body.replace(b"0a1b2c3d", b"ffffffff").replace(b"0A1B2C3D", b"FFFFFFFF") for step in all_steps(one)]
    assert renamed == [step.body for step in all_steps(other)]


@pytest.mark.parametrize("events", [1, 63, 64, 1000, 5003])
def test_the_distinct_requests_hold_as_many_acts_as_were_asked_for(events: int) -> None:
    steps = all_steps(plan_of(events=events))
    assert sum(step.acts for step in steps if not step.repeats) == events
    readable = [read(step.source, raw) for step in steps if not step.repeats for _, raw in step.events]
    assert sum(reading is not None for reading in readable) == events


def test_the_mix_is_kept_in_acts_although_lunary_sends_batches() -> None:
    acts: Counter[str] = Counter()
    for step in all_steps(plan_of(events=10_000, mix="langwatch=3,lunary=1", duplicates=0.0)):
        acts[step.source] += step.acts
    assert acts["langwatch"] / acts.total() == pytest.approx(0.75, abs=0.02)


def test_repeated_requests_are_requests_that_were_sent_before_byte_for_byte() -> None:
    plan = plan_of(events=5000, duplicates=0.2)
    concurrent = late = 0
    for lane in range(plan.lanes):
        earlier: set[bytes] = set()
        for step in lane_steps(plan, lane):
            if step.repeats:
                assert step.body in earlier
                late += 1
            earlier.add(step.body)
            concurrent += step.copies == 2
    assert concurrent > 100
    assert late > 300


def test_without_duplicates_every_request_is_sent_once() -> None:
    steps = all_steps(plan_of(events=5000, duplicates=0.0))
    assert all(step.copies == 1 and not step.repeats for step in steps)


def test_a_lunary_body_holds_its_events_as_they_are_given_beside_it() -> None:
    for step in all_steps(plan_of(events=3000, mix="lunary=1", lunary_batch="1-9=1")):
        events = json.loads(step.body)["events"]
        events = events if isinstance(events, list) else [events]
        assert [json.loads(raw) for _, raw in step.events] == events
        assert [place for place, _ in step.events] == list(range(len(events)))


def test_traces_are_reused_some_much_more_often_than_others() -> None:
    counts = Counter(
        reading.trace_id
        for step in all_steps(plan_of(events=20_000, traces=4000))
        for _, raw in step.events
        if (reading := read(step.source, raw))
    )
    times = sorted(counts.values(), reverse=True)
    assert times[0] > 10 * times[len(times) // 2]


def test_all_traces_of_a_run_lie_in_the_ranges_of_their_lanes_and_in_no_others() -> None:
    plan = plan_of(events=20_000)
    assert plan.lanes > 100
    for first, last in ((0, 6), (7, 7), (8, plan.lanes - 1)):
        ranges = trace_ranges(plan, first, last)
        for lane in (0, 6, 7, 8, plan.lanes - 1):
            for step in lane_steps(plan, lane):
                for _, raw in step.events:
                    reading = read(step.source, raw)
                    inside = reading and any(start <= reading.trace_id < end for start, end in ranges)
                    assert reading is None or inside == (first <= lane <= last)


def test_corrections_change_what_an_identity_says() -> None:
    said: dict[tuple[str, str, object], set[bytes]] = defaultdict(set)
    for step in all_steps(plan_of(events=10_000, corrections=0.2, duplicates=0.0)):
        for _, raw in step.events:
            if (reading := read(step.source, raw)) and reading.identity:
                said[step.source, reading.trace_id, reading.identity].add(raw)
    corrected = [trace[0] for trace, raws in said.items() if len(raws) > 1]
    assert corrected.count("langwatch") > 300
    assert corrected.count("lunary") > 300


def test_people_do_everything_that_makes_counting_hard() -> None:
    plan = plan_of(events=20_000, duplicates=0.0)
    readings = [r for step in all_steps(plan) for _, raw in step.events if (r := read(step.source, raw))]
    moments = [r.moment for r in readings if r.moment]
    assert {r.vote for r in readings} >= {1.0, -1.0, 0.0, None}
    assert any(r.vote and 0 < abs(r.vote) < 1 for r in readings)
    assert {"", None} < {r.comment for r in readings}
    assert max(len(r.comment or "") for r in readings) > 20_000 // 2
    assert any("�" in (r.comment or "") for r in readings)
    assert any(r.identity is None for r in readings)
    assert any(r.event_id for r in readings)
    assert any(moment.saturated for moment in moments)
    assert any(moment.micros > plan.started + 3_600_000_000 for moment in moments)
    assert any(moment.micros < 10**13 for moment in moments)
    assert any(r.details.get("nothing", "") is None for r in readings)
    assert any(raw.lower() != raw and b"4ABC" in raw for raw in (r.raw for r in readings))


def test_completion_ids_of_runs_are_never_as_long_as_a_uuid() -> None:
    plan = plan_of(events=1000)
    odd = {lunary_run(plan, 0, number) for number in range(2000)} - {lunary_run(plan, 0, 0)}
    assert all(len(run) != 36 for run in odd if run.startswith("chatcmpl"))
