"""The pipeline's own state, for the line below the charts: half of it is better than none."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import RedisError

from shared.dead_letters import DeadLetterBox
from shared.relay_state import RelayReport, relays
from shared.streams import Backlog, backlog

from .errors import ApiError
from .filters import LATEST_ROWS
from .freshness import Freshness, staleness
from .period import iso
from .warehouse import Row, Warehouse

if TYPE_CHECKING:
    from redis.asyncio import Redis

_REDIS_SECONDS = 2.0

# Of the live feedback that came in lately: from the door to the tables. What was imported or replayed is left out, its
# age being no fault of the pipeline's; what waited in a spool is not. And what was told again today.
_RECENT = f"""
SELECT (SELECT if(count() = 0, NULL, quantileExact(0.9)(greatest(0, dateDiff('microsecond', received_at, inserted_at))))
        FROM feedback_changes
        WHERE inserted_at > now64(6) - INTERVAL 10 MINUTE AND project_id = {{project:String}}
          AND isNotNull(received_at)) AS delay,
       (SELECT count() FROM {LATEST_ROWS}
        WHERE project_id = {{project:String}} AND NOT gone AND received_at >= toStartOfDay(now('UTC'))
          AND received_at != first_received) AS duplicates
"""  # noqa: S608 -- constants; values are parameters


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Where to ask: ``streams`` and ``group`` of the log."""

    redis: Redis
    warehouse: Warehouse
    freshness: Freshness
    streams: list[str]
    group: str

    async def state(self, project: str) -> dict[str, Any]:
        """Counts, and seconds; None for what nobody tells, and then ``problems`` says why. Never raises for that."""
        problems: list[str] = []
        now = time.time_ns() // 1000
        log, recent, (as_of, behind) = await asyncio.gather(
            self._log(problems), self._recent(project, problems), staleness(self.freshness, now)
        )
        if behind is None and not problems:
            problems.append("nothing keeps the answers up: is plaudit analytics or plaudit refresh running?")
        elif behind is not None and behind > 60:
            problems.append(f"the answers are {behind:,.0f} seconds old: see the log of plaudit analytics")
        entries, letters, fronts = log or (None, None, None)
        problems += [
            f"{relay.source} does not answer: what would go on to it waits, and is dropped after a while"
            for relay in fronts or ()
            if relay.open
        ]
        if entries and entries.length and not entries.consumers:
            problems.append("feedback waits and no worker takes it: start plaudit worker")
        oldest = entries.oldest if entries else None
        return {
            "backlog": entries.length if entries else None,
            "pending": entries.pending if entries else None,
            "workers": entries.consumers if entries else None,
            "oldest_seconds": max(0.0, round(now / 1e6 - oldest / 1e3, 3)) if oldest is not None else None,
            "delay_seconds": recent["delay"] / 1e6 if recent and recent["delay"] is not None else None,
            "dead_letters": letters,
            "relays": [msgspec.structs.asdict(relay) for relay in fronts] if fronts is not None else None,
            "duplicates_today": recent["duplicates"] if recent else None,
            "as_of": iso(as_of) if as_of is not None else None,
            "staleness_seconds": behind,
            "problems": problems,
        }

    async def _log(self, problems: list[str]) -> tuple[Backlog, int, list[RelayReport]] | None:
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                found = await backlog(self.redis, self.streams, self.group)
                letters = await DeadLetterBox(self.redis).count()
                return found, letters, await relays(self.redis, time.time())
        except (RedisError, OSError, TimeoutError):
            problems.append("Redis does not answer: feedback is spooled or refused, and what waits cannot be told")
            return None

    async def _recent(self, project: str, problems: list[str]) -> Row | None:
        try:
            return (await self.warehouse.rows(_RECENT, {"project": project}))[0]
        except ApiError as error:
            # Whoever reads this line is asked nothing of: the page asks again by itself.
            problems.append(error.message.removesuffix(".").removesuffix("; try again"))
            return None
