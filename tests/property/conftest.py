import pytest
from shared.settings import ClickHouseSettings


@pytest.fixture
def database():
    return ClickHouseSettings()
