"""How the relays to the vendors fare: told by every door, for whoever shows the pipeline's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from redis.asyncio import Redis

_KEY = "plaudit:{relays}"
_TRUSTED_FOR = 20.0
TELL_EVERY = 5.0
"""Seconds between what a door tells; a few times that and it is taken to be gone."""


class RelayReport(msgspec.Struct, array_like=True, frozen=True):
    """One vendor's relay. Totals since the door began. open: the vendor is left alone after failures."""

    source: str
    queued: int
    relayed: int
    dropped: int
    open: bool


class _Told(msgspec.Struct, array_like=True, frozen=True):
    at: float
    reports: list[RelayReport]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Told).decode


async def tell(redis: Redis, door: str, reports: list[RelayReport], now: float) -> None:
    """``door``: names the process. ``now``: seconds since 1970."""
    pipe = redis.pipeline(transaction=False)
    pipe.hset(_KEY, door, _encode(_Told(now, reports)))
    pipe.expire(_KEY, int(_TRUSTED_FOR) * 6)
    await pipe.execute()


async def forget(redis: Redis, door: str) -> None:
    """A door leaves."""
    await redis.hdel(_KEY, door)


async def relays(redis: Redis, now: float) -> list[RelayReport]:
    """Each vendor's relays of all doors together, as far as they told within the last seconds; open if any is."""
    told: Any = await redis.hgetall(_KEY)
    total: dict[str, RelayReport] = {}
    for packed in told.values():
        door = _decode(packed)
        if now - door.at > _TRUSTED_FOR:
            continue
        for report in door.reports:
            known = total.get(report.source, RelayReport(report.source, 0, 0, 0, open=False))
            total[report.source] = RelayReport(
                report.source,
                known.queued + report.queued,
                known.relayed + report.relayed,
                known.dropped + report.dropped,
                known.open or report.open,
            )
    return sorted(total.values(), key=lambda report: report.source)
