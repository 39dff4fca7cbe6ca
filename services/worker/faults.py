"""Errors of an insert, by class: what to do depends on whose fault it is.

Codes as ClickHouse numbers them (src/Common/ErrorCodes.cpp). Taking a server's fault for the event's would lose
events; taking an event's fault for the server's would block the stream for ever.
"""

from __future__ import annotations

from enum import StrEnum

from clickhouse_connect.driver.exceptions import Error

from shared.errors import PlauditError, StoreUnavailableError
from shared.storage import describe


class EncodingError(PlauditError):
    """The client could not encode rows. Nothing of it is the server's word, so it is told apart where it happens."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Fault(StrEnum):
    """Whose fault it is. The values are label values of ``plaudit_worker_inserts_total``."""

    SERVER = "server"
    """Network, overload, read-only, no access: try again for as long as it takes."""
    SCHEMA = "schema"
    """A table or column is missing or of another type: the same, and alarm."""
    SIZE = "size"
    """Out of memory, maybe for this batch's own size: try again, then in halves."""
    ROW = "row"
    """A row that the client cannot encode or the server does not take: find it."""
    UNKNOWN = "unknown"
    """Anything else: tried again, never blamed on an event; and alarm."""


_BY_CODE = {
    Fault.SERVER: (159, 160, 164, 202, 209, 210, 225, 242, 243, 252, 279, 285, 286, 319, 394, 497, 516, 999),
    Fault.SCHEMA: (16, 47, 53, 60, 81),
    Fault.SIZE: (241,),
    Fault.ROW: (6, 27, 38, 41, 69, 117),
}
_FAULTS = {code: fault for fault, codes in _BY_CODE.items() for code in codes}


def fault_of(error: BaseException) -> Fault:
    """The class of an error that an insert raised."""
    if isinstance(error, EncodingError):
        return Fault.ROW
    if isinstance(error, StoreUnavailableError):
        # Said while connecting, before any row was sent: it may be the schema's fault, never a row's.
        cause = fault_of(error.__cause__) if error.__cause__ else Fault.SERVER
        return Fault.UNKNOWN if cause is Fault.ROW else cause
    if isinstance(error, MemoryError):
        return Fault.SIZE
    code = error.code if isinstance(error, Error) else None
    if code is not None:
        return _FAULTS.get(code, Fault.UNKNOWN)
    # Without a code it is not the server's word: it was not reached, or its answer did not arrive.
    return Fault.SERVER if isinstance(error, Error | OSError) else Fault.UNKNOWN


def loggable(error: BaseException) -> str:
    """What may be logged of it: a row's fault and an unknown code may quote the row, so only their name is told."""
    if fault_of(error) not in (Fault.ROW, Fault.UNKNOWN):
        return describe(error)
    if isinstance(error, Error) and error.code is not None:
        return f"code {error.code} {error.name or ''}".rstrip()
    return type(error.__cause__ or error).__name__
