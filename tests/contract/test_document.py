"""That the document tells the truth about the cases."""

from __future__ import annotations

from tests.contract import table


def test_the_documents_table_of_cases_is_made_of_the_cases() -> None:
    assert table.written() == table.render(), "run: python -m tests.contract.table"
