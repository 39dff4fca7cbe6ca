"""A process's view of the keys through whatever happens to their homes."""

from __future__ import annotations

import pytest

from shared.errors import StoreUnavailableError
from shared.keyring import COPY_IN_REDIS, Keyring, LoadKeys
from shared.keys import KeyKind, KeyRecord, pack, token_hash
from shared.settings import RedisSettings
from shared.streams import connect

pytestmark = pytest.mark.integration

KNOWN = KeyRecord(token_hash("known"), "langwatch", ["p"])


def ring(load: LoadKeys, redis_url: str) -> Keyring:
    now = iter(range(1000))
    redis = connect(RedisSettings.model_validate({"redis_url": redis_url}))
    return Keyring(load, redis, refresh=5, clock=lambda: float(next(now)) * 10)


@pytest.mark.parametrize("error", [OSError("away"), ValueError("a maintenance page"), MemoryError(), KeyError("x")])
async def test_whatever_reading_the_keys_raises_those_that_are_known_go_on(redis_url: str, error: Exception) -> None:
    answers: list[list[KeyRecord] | Exception] = [[KNOWN], error, error, [KNOWN]]

    def load() -> list[KeyRecord]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    keys = ring(load, redis_url)
    assert await keys.look_up("known") is not None
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await keys.look_up("unknown")
        assert keys.find("known") is not None
    assert await keys.look_up("unknown") is None


@pytest.mark.parametrize(
    "copy",
    [b"", b"\xc1", b"\x91\x01", pack([KNOWN])[:-1]],
    ids=["empty", "no MessagePack", "of another shape", "torn"],
)
async def test_a_copy_that_cannot_be_read_is_no_copy(redis_url: str, copy: bytes) -> None:
    def away() -> list[KeyRecord]:
        raise StoreUnavailableError("clickhouse", "away")

    redis = connect(RedisSettings.model_validate({"redis_url": redis_url}))
    await redis.set(COPY_IN_REDIS, copy)
    keys = ring(away, redis_url)
    with pytest.raises(StoreUnavailableError):
        await keys.look_up("known")
    assert not keys.ready
    await redis.set(COPY_IN_REDIS, pack([KNOWN]))
    assert await keys.look_up("known") is not None
    await redis.aclose()


async def test_a_key_of_a_kind_of_a_later_release_is_passed_over_and_the_others_hold(redis_url: str) -> None:
    later = KeyRecord(token_hash("later"), "a kind of its own", ["p"])
    keys = ring(lambda: [later, KNOWN], redis_url)
    found = await keys.look_up("known")
    assert found is not None
    assert found.kind is KeyKind.LANGWATCH
    assert await keys.look_up("later") is None
