from __future__ import annotations

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from services.worker.faults import EncodingError, Fault, fault_of, loggable
from shared.errors import StoreUnavailableError

TRY_AGAIN = (159, 160, 164, 202, 209, 210, 225, 242, 243, 252, 279, 285, 286, 319, 394, 497, 516, 999)


def coded(code: int, message: str = "", name: str | None = None) -> DatabaseError:
    return DatabaseError(message, code=code, name=name)


@pytest.mark.parametrize("code", TRY_AGAIN)
def test_overload_and_the_like_are_the_servers_fault(code: int) -> None:
    assert fault_of(coded(code)) is Fault.SERVER


@pytest.mark.parametrize("code", [16, 47, 53, 60, 81])
def test_a_missing_table_or_column_is_the_schemas_fault(code: int) -> None:
    assert fault_of(coded(code)) is Fault.SCHEMA


@pytest.mark.parametrize("code", [6, 27, 38, 41, 69, 117])
def test_what_cannot_be_parsed_is_the_rows_fault(code: int) -> None:
    assert fault_of(coded(code)) is Fault.ROW


def test_out_of_memory_may_be_the_batchs_size() -> None:
    assert fault_of(coded(241)) is Fault.SIZE
    assert fault_of(MemoryError()) is Fault.SIZE


@pytest.mark.parametrize("code", [1, 395, 469, 1001, 99999])
def test_any_other_code_is_unknown_and_nobodys_fault(code: int) -> None:
    assert fault_of(coded(code)) is Fault.UNKNOWN


@pytest.mark.parametrize("error", [OperationalError("reset"), ConnectionRefusedError(), TimeoutError(), OSError(5, "")])
def test_a_server_that_was_not_reached_is_the_servers_fault(error: Exception) -> None:
    assert fault_of(error) is Fault.SERVER


def test_what_the_client_could_not_encode_is_the_rows_fault() -> None:
    assert fault_of(EncodingError("argument out of range")) is Fault.ROW


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x"), RuntimeError("cannot start a thread")])
def test_an_error_nobody_foresaw_is_never_blamed_on_a_row(error: Exception) -> None:
    assert fault_of(error) is Fault.UNKNOWN


def unavailable(cause: Exception | None) -> StoreUnavailableError:
    error = StoreUnavailableError("clickhouse", "no")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        (None, Fault.SERVER),
        (OperationalError("refused"), Fault.SERVER),
        (coded(516), Fault.SERVER),
        (coded(81), Fault.SCHEMA),
        (coded(27), Fault.UNKNOWN),
        (ValueError("a maintenance page"), Fault.UNKNOWN),
    ],
)
def test_while_connecting_nothing_is_a_rows_fault(cause: Exception | None, fault: Fault) -> None:
    assert fault_of(unavailable(cause)) is fault


def test_logs_do_not_quote_rows() -> None:
    quoting = "Column values: comment = 'my secret'"
    assert loggable(coded(469, quoting, "VIOLATED_CONSTRAINT")) == "code 469 VIOLATED_CONSTRAINT"
    assert loggable(coded(27, quoting)) == "code 27"
    assert loggable(EncodingError(quoting)) == "EncodingError"
    assert loggable(RuntimeError(quoting)) == "RuntimeError"


def test_logs_say_what_ails_the_server() -> None:
    assert "Table plaudit.feedback_events does not exist" in loggable(
        coded(60, "Table plaudit.feedback_events does not exist")
    )
