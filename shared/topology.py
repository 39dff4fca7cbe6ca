"""Where Redis is: one server, the master that Sentinel names, or the masters of a cluster.

    redis://:password@host:6379/0
    redis+sentinel://:password@one:26379,two:26379/mymaster/0
    redis+cluster://:password@one:6379,two:6379

(``rediss…`` with TLS.) In the latter two, which server to speak to is asked anew at each connection. A server that says
that it is not the one any more loses the connection; for callers that is an ordinary connection error, and the next
connection goes to the right place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from typing_extensions import override

if TYPE_CHECKING:
    from shared.settings import RedisSettings

Address = tuple[str, int]
Find = Callable[[], Awaitable[Address]]

_ELSEWHERE = (ReadOnlyError, MovedError, AskError, ClusterDownError, TryAgainError)


@dataclass(frozen=True, slots=True)
class Topology:
    """``service``: the master's name in Sentinel. ``hosts``: of Sentinels, or some nodes of the cluster."""

    kind: Literal["single", "sentinel", "cluster"]
    url: str = field(repr=False)
    hosts: tuple[Address, ...]
    username: str | None
    password: str | None = field(repr=False)
    service: str
    db: int
    tls: bool

    @classmethod
    def of(cls, settings: RedisSettings) -> Topology:
        url = settings.redis_url.get_secret_value()
        parts = urlsplit(url)
        scheme, _, kind = parts.scheme.partition("+")
        credentials, _, netloc = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        default = 26379 if kind == "sentinel" else 6379
        places = [urlsplit(f"//{host}") for host in netloc.split(",")] if kind else []
        path = [unquote(part) for part in parts.path.split("/") if part]
        return cls(
            "sentinel" if kind == "sentinel" else "cluster" if kind == "cluster" else "single",
            url,
            tuple((place.hostname or "127.0.0.1", place.port or default) for place in places),
            unquote(username) or None,
            unquote(password) or None,
            path[0] if kind == "sentinel" and path else "mymaster",
            int(path[1]) if kind == "sentinel" and len(path) > 1 else 0,
            scheme == "rediss",
        )

    def pool(self, key: str, **options: Any) -> ConnectionPool:
        """Connections to the server that holds ``key``."""
        if self.kind == "single":
            return ConnectionPool.from_url(self.url, **options)
        find = self._master if self.kind == "sentinel" else lambda: self._holder(key_slot(key.encode()))
        options |= {"username": self.username, "password": self.password, "db": self.db, "find": find}
        return ConnectionPool(connection_class=_FoundTls if self.tls else _Found, **options)

    def client(self, **options: Any) -> Redis:
        """For commands on any key. In a cluster a RedisCluster, which has the same commands."""
        if self.kind != "cluster":
            return Redis(connection_pool=self.pool("", **options))
        nodes = [ClusterNode(host, port) for host, port in self.hosts]
        options |= {"username": self.username, "password": self.password, "ssl": self.tls}
        return cast("Redis", _Cluster(startup_nodes=nodes, **options))

    async def _master(self) -> Address:
        sentinel: Any = Sentinel(self.hosts, sentinel_kwargs=self._short())  # type: ignore[no-untyped-call]
        try:
            host, port = await sentinel.discover_master(self.service)
        finally:
            for asked in sentinel.sentinels:
                await asked.aclose()
        return str(host), int(port)

    async def _holder(self, slot: int) -> Address:
        """As the first node says that answers; nodes that were told in the URL need not live for ever, but one must."""
        failure: Exception = OSError("the URL names no host")
        for host, port in self.hosts:
            node: Any = Redis(host=host, port=port, username=self.username, password=self.password, **self._short())
            try:
                # Two words, so that the reply comes as it is: [first, last, [host, port, ...], replicas ...]
                ranges = await node.execute_command("CLUSTER", "SLOTS")
            except (RedisError, OSError) as error:
                failure = error
                continue
            finally:
                await node.aclose()
            for first, last, master, *_ in ranges:
                if first <= slot <= last:
                    return (master[0] or host.encode()).decode(), int(master[1])
            failure = RedisConnectionError(f"no node serves slot {slot}")
        raise RedisConnectionError(str(failure)) from failure

    def _short(self) -> dict[str, Any]:
        return {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "ssl": self.tls}


class _Found(Connection):
    """A connection to wherever ``find`` says when it is opened."""

    def __init__(self, *, find: Find, **options: Any) -> None:
        self._find = find
        super().__init__(**options)

    @override
    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        if not self.is_connected:
            self.host, self.port = await self._find()
        await super().connect_check_health(check_health, retry_socket_connect)

    @override
    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except _ELSEWHERE as error:
            await self.disconnect()
            raise RedisConnectionError(f"not the master any more: {error}") from error


class _FoundTls(_Found, SSLConnection):
    """The same with TLS."""


@contextmanager
def _as_any_server() -> Iterator[None]:
    """A cluster of which no node answers, or no node holds the slot, is told in an exception that is no RedisError."""
    try:
        yield
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error


class _Cluster(RedisCluster):
    """A client whose cluster is away as any server is away: for callers an ordinary connection error."""

    @override
    async def initialize(self, *args: Any, **options: Any) -> RedisCluster:
        with _as_any_server():
            return await super().initialize(*args, **options)

    @override
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with _as_any_server():
            return await super().execute_command(*args, **options)

    @override
    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        return _ClusterPipeline(self, transaction)  # type: ignore[abstract]


class _ClusterPipeline(ClusterPipeline):
    @override
    async def execute(self, *args: Any, **options: Any) -> list[Any]:
        with _as_any_server():
            return await super().execute(*args, **options)
