"""Everything that can be done to a running stack, each by its name: one call does the harm and undoes it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random

from shared.storage import connect

from .clickhouse_proxy import ClickHouseProxy, Fault, Hold, LoseAnswer, Refuse, Slow
from .proxy import Mode, TcpProxy
from .stack import Stack


@dataclass(frozen=True)
class Harm:
    """``seconds``: how long a fault lasts, at least and at most."""

    stack: Stack
    redis: TcpProxy
    clickhouse: ClickHouseProxy
    random: Random
    seconds: tuple[float, float] = (0.5, 4.0)

    def all(self) -> Mapping[str, Callable[[], None]]:
        pieces = [piece.name for piece in (*self.stack.doors, *self.stack.workers)]
        faults: dict[str, Callable[[], None]] = {
            "kill all workers": partial(self.kill, [worker.name for worker in self.stack.workers]),
            "kill everything": partial(self.kill, [*pieces, "redis", "clickhouse"]),
            "clickhouse: too many parts": partial(self.break_clickhouse, Refuse(252, "TOO_MANY_PARTS")),
            "clickhouse: read-only": partial(self.break_clickhouse, Refuse(242, "TABLE_IS_READ_ONLY")),
            "clickhouse: slow": partial(self.break_clickhouse, Slow(1.0)),
            "clickhouse: answers lost": partial(self.break_clickhouse, LoseAnswer()),
            "clickhouse: inserts held": partial(self.break_clickhouse, Hold(threading.Event())),
            "table away": self.hide_table,
            "group destroyed": self.stack.destroy_group,
        }
        faults |= {f"kill {name}": partial(self.kill, [name]) for name in (*pieces, "redis", "clickhouse")}
        faults |= {f"stop {name} for a while": partial(self.suspend, name) for name in (*pieces, "redis")}
        faults |= {f"way to redis: {mode}": partial(self.break_redis, mode) for mode in Mode if mode != Mode.PASS}
        return faults

    def kill(self, names: list[str]) -> None:
        for name in self.random.sample(names, len(names)):
            self.stack.kill(name)
        self._last(0.5)
        for name in sorted(names, key=lambda name: name not in {"redis", "clickhouse"}):
            self.stack.revive(name)

    def suspend(self, name: str) -> None:
        self.stack.pause(name)
        self._last()
        self.stack.resume(name)

    def break_redis(self, mode: Mode) -> None:
        self.redis.set(mode)
        self._last()
        self.redis.set(Mode.PASS)
        self.stack.fault_ended()

    def break_clickhouse(self, fault: Fault) -> None:
        self.clickhouse.fault = fault
        self._last()
        self.clickhouse.fault = None
        if isinstance(fault, Hold):
            fault.released.set()
        self.stack.fault_ended()

    def hide_table(self) -> None:
        client = connect(self.stack.servers.database)
        client.command("RENAME TABLE feedback_events TO feedback_events_away")
        self._last()
        client.command("RENAME TABLE feedback_events_away TO feedback_events")
        client.close()
        self.stack.fault_ended()

    def _last(self, share: float = 1.0) -> None:
        least, most = self.seconds
        time.sleep(share * self.random.uniform(least, most))
