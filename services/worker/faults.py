"""Errors of an insert, by class: what to do depends on whose fault it is.

Codes as ClickHouse numbers them (src/Common/ErrorCodes.cpp). Taking a server's fault for the event's would lose
events; taking an event's fault for the server's would block the stream for ever.
"""

from __future__ import annotations

import struct
from enum import StrEnum

from clickhouse_connect.driver.exceptions import DataError, Error


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
    """Any other code: tried again, never blamed on an event; and alarm."""


_SERVER = {159, 160, 164, 202, 209, 210, 225, 242, 243, 252, 279, 285, 286, 319, 394, 497, 516, 999}
_SCHEMA = {16, 47, 53, 60, 81}
_SIZE = {241}
_ROW = {6, 27, 38, 41, 69, 117}
_ENCODING_ERRORS = (DataError, UnicodeError, OverflowError, struct.error, TypeError, ValueError)


def fault_of(error: BaseException) -> Fault:
    """The class of an error that an insert raised."""
    code = error.code if isinstance(error, Error) else None
    if code is None:
        # Without a code it is not the server's word: either the client could not encode, or could not reach it.
        return Fault.ROW if isinstance(error, _ENCODING_ERRORS) else Fault.SERVER
    for codes, fault in ((_ROW, Fault.ROW), (_SCHEMA, Fault.SCHEMA), (_SIZE, Fault.SIZE), (_SERVER, Fault.SERVER)):
        if code in codes:
            return fault
    return Fault.UNKNOWN
