from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.door_stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("contract")) as running:
        yield running
