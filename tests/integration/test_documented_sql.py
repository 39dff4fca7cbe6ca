"""SQL in the documents is at least understood by the engine, where it cannot be executed on one embedded node."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.settings import ClickHouseSettings
from shared.storage import connect

pytestmark = pytest.mark.integration

_PRODUCTION = Path(__file__).parents[2] / "docs" / "production.md"


def statements() -> list[str]:
    blocks = re.findall(r"^```sql\n(.*?)^```$", _PRODUCTION.read_text(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(line for block in blocks for line in block.splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in lines.split(";") if statement.strip()]


def test_every_statement_of_the_production_guide_is_understood(database: ClickHouseSettings) -> None:
    client = connect(database)
    for statement in statements():
        client.query("SELECT formatQuery({statement:String})", {"statement": statement})
    client.close()
    assert len(statements()) > 15


def test_every_table_that_the_guide_grants_rights_on_exists(database: ClickHouseSettings) -> None:
    client = connect(database)
    there = {row[0] for row in client.query("SHOW TABLES").result_rows}
    client.close()
    named = {name for statement in statements() for name in re.findall(r"ON plaudit\.(\w+)", statement)}
    assert named
    assert named <= there
