"""What the application is made of, and how its routes get at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from shared.keyring import Keyring

from .access import Access, Reader
from .freshness import Freshness, RefreshDuty
from .pipeline import Pipeline
from .tail import Tails
from .warehouse import Warehouse

if TYPE_CHECKING:
    from redis.asyncio import Redis


@dataclass(frozen=True, slots=True)
class Parts:
    """``duty``: keeps the derived tables up; None where another process does."""

    access: Access
    warehouse: Warehouse
    freshness: Freshness
    pipeline: Pipeline
    tails: Tails
    keyring: Keyring
    duty: RefreshDuty | None
    redis: Redis
    ingest_url: str | None
    most_in_parquet: int


def parts_of(request: Request) -> Parts:
    """As ``create_app`` was given them."""
    parts: Parts = request.app.state.parts
    return parts


async def reader_of(request: Request) -> Reader:
    """Who asks. Raises ApiError where nobody is logged in."""
    return await parts_of(request).access.reader(request)


PartsOf = Annotated[Parts, Depends(parts_of)]
ReaderOf = Annotated[Reader, Depends(reader_of)]
