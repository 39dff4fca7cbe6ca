"""One embedded ClickHouse for the tests of this folder, and a plain HTTP client for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest

from services.standalone.embedded import EmbeddedServer, embedded_clickhouse


@dataclass(frozen=True)
class Sql:
    """Speaks to the server as curl does."""

    url: str

    @property
    def base(self) -> str:
        parts = urlsplit(self.url)
        return f"http://127.0.0.1:{parts.port}/"

    @property
    def auth(self) -> tuple[str, str]:
        parts = urlsplit(self.url)
        return parts.username or "", parts.password or ""

    def post(self, sql: str | bytes, **parameters: str) -> httpx.Response:
        query = {"database": urlsplit(self.url).path.strip("/"), **parameters}
        return httpx.post(self.base, content=sql, params=query, auth=self.auth, timeout=30)

    def text(self, sql: str | bytes, **parameters: str) -> str:
        response = self.post(sql, **parameters)
        assert response.status_code == 200, response.text
        return response.text


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sql, EmbeddedServer]]:
    with embedded_clickhouse(tmp_path_factory.mktemp("standalone")) as (url, server):
        yield Sql(url), server


@pytest.fixture
def sql(clickhouse: tuple[Sql, EmbeddedServer]) -> Sql:
    return clickhouse[0]
