"""How the embedded ClickHouse is run as a child."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from services.standalone.process import LOOPBACK, ProcessSpec, http_ok, python_argv

_STOP_ORDER: Final = 100


@dataclass(frozen=True, slots=True)
class ClickHouseOptions:
    """How the server is run.

    Attributes:
        port: TCP port on loopback.
        password: Of ``user``.
        user: The one user.
        database: Created where it is missing.
        max_memory: Bytes for the engine, or None for a share of the machine's memory.

    """

    port: int
    password: str = field(repr=False)
    user: str = "plaudit"
    database: str = "plaudit"
    max_memory: int | None = None

    @property
    def url(self) -> str:
        """Where clients connect, with the password."""
        return f"http://{quote(self.user)}:{quote(self.password)}@{LOOPBACK}:{self.port}/{quote(self.database)}"


def clickhouse_spec(folder: Path, options: ClickHouseOptions) -> ProcessSpec:
    """How to run the server on ``folder``."""
    memory = () if options.max_memory is None else ("--max-memory", str(options.max_memory))
    return ProcessSpec(
        name="clickhouse",
        argv=python_argv(
            "services.standalone.clickhouse",
            *("--path", str(folder.resolve())),
            *("--host", LOOPBACK, "--port", str(options.port)),
            *("--database", options.database),
            *memory,
        ),
        ready=lambda: http_ok(options.port, "/ping"),
        env={
            "PLAUDIT_EMBEDDED_CLICKHOUSE_USER": options.user,
            "PLAUDIT_EMBEDDED_CLICKHOUSE_PASSWORD": options.password,
        },
        stop_order=_STOP_ORDER,
        drain_seconds=15.0,
        ready_seconds=60.0,
    )
