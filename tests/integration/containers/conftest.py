"""Servers in containers, where a Docker daemon answers. What is skipped says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from shared.migrate import migrate
from shared.settings import ClickHouseSettings

REDIS_IMAGE = "redis:7.4"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:25.8"


@pytest.fixture(scope="session")
def docker() -> object:
    """A client of the daemon."""
    docker = pytest.importorskip("docker", reason="the docker package is not installed")
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker daemon answers: {error}")
    return client


def _has_image(client: object, image: str) -> bool:
    import docker.errors

    try:
        client.images.get(image)  # type: ignore[attr-defined]
    except docker.errors.ImageNotFound:
        try:
            client.images.pull(image)  # type: ignore[attr-defined]
        except docker.errors.APIError:
            return False
    return True


@pytest.fixture(scope="session")
def redis_container(docker: object) -> Iterator[object]:
    from testcontainers.community.redis import RedisContainer

    if not _has_image(docker, REDIS_IMAGE):
        pytest.skip(f"{REDIS_IMAGE} is not here and cannot be pulled")
    command = "redis-server --bind 0.0.0.0 --protected-mode no --appendonly yes --maxmemory 256mb"
    with RedisContainer(REDIS_IMAGE).with_command(f"{command} --maxmemory-policy noeviction --dir /data") as container:
        yield container


@pytest.fixture
def real_clickhouse(docker: object) -> Iterator[ClickHouseSettings]:
    """The real server. The embedded engine stands in for it everywhere else."""
    from testcontainers.community.clickhouse import ClickHouseContainer

    if not _has_image(docker, CLICKHOUSE_IMAGE):
        pytest.skip(f"{CLICKHOUSE_IMAGE} is not here and cannot be pulled; only the embedded engine was tested")
    with ClickHouseContainer(CLICKHOUSE_IMAGE, port=8123, username="plaudit", password="plaudit") as container:
        url = f"http://plaudit:plaudit@{container.get_container_host_ip()}:{container.get_exposed_port(8123)}/plaudit"
        settings = ClickHouseSettings(clickhouse_url=SecretStr(url))
        migrate(settings)
        yield settings
