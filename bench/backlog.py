"""Backlogs: written once under another name, then copied onto the stream inside the server, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice

from redis import Redis

from bench.pieces import Stage
from shared.envelope import FIELD
from shared.streams import partitions

_AT_ONCE = 1_000
_POLL = 0.02


class StuckError(Exception):
    """A backlog was not drained in time."""


class BacklogWriter:
    """Fills, copies and watches the stage's stream. ``template`` names a backlog that has been written."""

    def __init__(self, stage: Stage) -> None:
        settings = stage.redis
        self.redis = Redis.from_url(settings.redis_url.get_secret_value(), protocol=2, socket_timeout=120)
        self.stream = partitions(settings)[0]
        self.group = settings.consumer_group

    def write(self, template: str, payloads: Iterable[bytes], field: bytes = FIELD) -> int:
        """A stream with a group that has read nothing; returns the number of its entries."""
        payloads = iter(payloads)
        written = 0
        self.redis.delete(template)
        while chunk := list(islice(payloads, _AT_ONCE)):
            pipe = self.redis.pipeline(transaction=False)
            for payload in chunk:
                pipe.xadd(template, {field: payload})
            pipe.execute()
            written += len(chunk)
        self.redis.xgroup_create(template, self.group, id="0")
        return written

    def put(self, template: str) -> float:
        """Lays a copy of a backlog before whoever reads the stream; returns when, in monotonic seconds."""
        self.redis.copy(template, self.stream, replace=True)
        return time.monotonic()

    def bytes_an_entry(self, template: str) -> float:
        """Of the server's memory, before anybody has read it."""
        return int(self.redis.memory_usage(template, samples=0) or 0) / max(1, int(self.redis.xlen(template)))

    def clear(self) -> None:
        """An empty stream with its group."""
        self.redis.delete(self.stream)
        self.redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)

    def wait(self, done: Callable[[], bool], patience: float = 300.0) -> float:
        """Until ``done``; returns the monotonic time."""
        deadline = time.monotonic() + patience
        while not done():
            if time.monotonic() > deadline:
                raise StuckError(f"{self.redis.xlen(self.stream)} entries are left")
            time.sleep(_POLL)
        return time.monotonic()

    def emptied(self) -> bool:
        """Ours: entries leave the stream when they are settled."""
        return int(self.redis.xlen(self.stream)) == 0

    def acknowledged(self) -> bool:
        """Theirs: everything was read and nothing is pending, but all of it still lies in the stream."""
        group = self.redis.xinfo_groups(self.stream)[0]
        return bool(group["lag"] == 0 and group["pending"] == 0)
