"""``plaudit import``: through the same log and identity as live feedback, so that nothing is there twice."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from services.operate.backfill import Imported, ImportOptions, ImportRefusedError, import_file
from shared.events import Source
from shared.settings import RedisSettings
from shared.streams import connect as connect_redis
from shared.streams import partitions

from .conftest import PROJECT, Store, drain

pytestmark = pytest.mark.integration

NOW = round(time.time() * 1e6)
THEN = 1_790_000_000_000


def line(trace: str, vote: float, at: int | None = THEN, **more: Any) -> dict[str, Any]:
    event: dict[str, Any] = {"trace_id": trace, "event_type": "thumbs_up_down", "metrics": {"vote": vote}, **more}
    return event if at is None else event | {"timestamp": at}


def write(folder: Path, *lines: object, name: str = "feedback.ndjson") -> Path:
    file = folder / name
    file.write_text("".join((text if isinstance(text, str) else json.dumps(text)) + "\n" for text in lines))
    return file


async def run(settings: RedisSettings, file: Path, source: Source = Source.LANGWATCH, **more: Any) -> Imported:
    asked = {"timeless_at": None, "most_waiting": 10_000, "restart": False, **more}
    return await import_file(settings, ImportOptions(file, source, PROJECT, **asked), NOW, lambda _: None)


def stored(store: Store) -> list[tuple[Any, ...]]:
    rows = store.client.query("SELECT trace_id, vote, comment FROM feedback ORDER BY time, trace_id").result_rows
    return [tuple(row) for row in rows]


async def test_twice_is_once(store: Store, redis_settings: RedisSettings, tmp_path: Path) -> None:
    file = write(tmp_path, line("a", 1), line("b", -1, THEN + 1), line("a", 0, THEN + 2))
    for _ in range(2):
        imported = await run(redis_settings, file)
        assert (imported.lines, imported.appended) == (3, 3)
        assert await drain(redis_settings, store) == 3
    assert stored(store) == [("a", 1.0, None), ("b", -1.0, None), ("a", 0.0, None)]


async def test_the_same_lines_in_another_file_and_order_are_the_same(
    store: Store, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    lines = [line("a", 1), line("b", -1, None), line("c", 1, None, event_id="e")]
    await run(redis_settings, write(tmp_path, *lines), timeless_at=THEN * 1000)
    await run(redis_settings, write(tmp_path, *lines[::-1], line("d", 1), name="more"), timeless_at=THEN * 1000)
    await drain(redis_settings, store)
    assert [row[0] for row in stored(store)] == ["a", "b", "c", "d"]


async def test_what_came_in_live_is_recognised_and_its_later_correction_stands(
    store: Store, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    store.insert("langwatch", line("a", -1), THEN / 1000 + 50)
    store.refresh()
    await run(redis_settings, write(tmp_path, line("a", 1)))
    await drain(redis_settings, store)
    assert stored(store) == [("a", -1.0, None)]


async def test_lunarys_events_are_taken_in_their_own_format(
    store: Store, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    thumb = {"event": "feedback", "runId": "r", "timestamp": "2026-09-21T00:00:00Z", "feedback": {"thumb": "down"}}
    nothing = {"event": "start", "runId": "r", "timestamp": "2026-09-21T00:00:00Z"}
    imported = await run(redis_settings, write(tmp_path, thumb, nothing, ""), Source.LUNARY)
    assert (imported.appended, imported.skipped, imported.faulty) == (1, 2, 0)
    await drain(redis_settings, store)
    assert stored(store) == [("r", -1.0, None)]


async def test_a_bad_line_stops_nothing_and_is_named(
    store: Store, redis_settings: RedisSettings, tmp_path: Path
) -> None:
    ahead = line("f", 1, NOW // 1000 + 86_400_000)
    file = write(tmp_path, line("a", 1), "not json", line("b", 7), line("timeless", 1, None), ahead, line("z", 1))
    imported = await run(redis_settings, file)
    assert (imported.appended, imported.faulty) == (2, 4)
    assert [number for number, _ in imported.faults] == [2, 3, 4, 5]
    await drain(redis_settings, store)
    assert [row[0] for row in stored(store)] == ["a", "z"]


async def test_interrupted_it_goes_on_where_it_was(store: Store, redis_settings: RedisSettings, tmp_path: Path) -> None:
    file = write(tmp_path, *(line(f"t{number:05}", 1, THEN + number) for number in range(3_500)))
    done = 0

    def interrupt(size: int) -> None:
        nonlocal done
        done += size
        if done > 200_000:
            raise KeyboardInterrupt

    options = ImportOptions(file, Source.LANGWATCH, PROJECT, None, 10_000, restart=False)
    with pytest.raises(KeyboardInterrupt):
        await import_file(redis_settings, options, NOW, interrupt)
    first = await drain(redis_settings, store)
    imported = await run(redis_settings, file)
    second = await drain(redis_settings, store)
    assert imported.lines == imported.appended == 3_500
    assert first + second < 3_500 + 1_001
    assert len(stored(store)) == 3_500
    assert not list(tmp_path.glob("*.plaudit-import*"))


async def test_a_bookmark_of_another_file_is_not_followed(redis_settings: RedisSettings, tmp_path: Path) -> None:
    file = write(tmp_path, line("a", 1))
    (tmp_path / "feedback.ndjson.plaudit-import").write_text('{"of": "x", "offset": 5, "imported": {}}')
    with pytest.raises(ImportRefusedError, match="--restart"):
        await run(redis_settings, file)
    assert (await run(redis_settings, file, restart=True)).appended == 1


async def test_it_waits_while_the_log_is_long(store: Store, redis_settings: RedisSettings, tmp_path: Path) -> None:
    file = write(tmp_path, *(line(f"t{number}", 1, THEN + number) for number in range(2_500)))
    importing = asyncio.create_task(run(redis_settings, file, most_waiting=1_000))
    redis = connect_redis(redis_settings)
    async with asyncio.timeout(30):
        while await redis.xlen(partitions(redis_settings)[0]) < 1_000:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.6)
    assert await redis.xlen(partitions(redis_settings)[0]) == 1_000
    while not importing.done():
        await redis.delete(partitions(redis_settings)[0])
        await asyncio.sleep(0.05)
    assert (await importing).appended == 2_500
    await redis.aclose()
