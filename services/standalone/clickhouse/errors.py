"""Errors as ClickHouse reports them: a number and a text."""

import re
from http import HTTPStatus
from typing import Final, Self

# The names and numbers of ClickHouse's src/Common/ErrorCodes.cpp.
SYNTAX_ERROR: Final = 62
NOT_IMPLEMENTED: Final = 48
UNKNOWN_SETTING: Final = 115
TOO_MANY_BYTES: Final = 307
UNKNOWN_COMPRESSION_METHOD: Final = 89
CANNOT_DECOMPRESS: Final = 271
BAD_REQUEST_PARAMETER: Final = 36
ACCESS_DENIED: Final = 497
AUTHENTICATION_FAILED: Final = 516
UNKNOWN_EXCEPTION: Final = 1002

# As in ClickHouse's HTTPHandler (exceptionCodeToHTTPStatus); what is not listed is 500.
_STATUS: Final = {
    6: HTTPStatus.BAD_REQUEST,
    27: HTTPStatus.BAD_REQUEST,
    36: HTTPStatus.BAD_REQUEST,
    38: HTTPStatus.BAD_REQUEST,
    41: HTTPStatus.BAD_REQUEST,
    53: HTTPStatus.BAD_REQUEST,
    62: HTTPStatus.BAD_REQUEST,
    72: HTTPStatus.BAD_REQUEST,
    89: HTTPStatus.BAD_REQUEST,
    115: HTTPStatus.BAD_REQUEST,
    117: HTTPStatus.BAD_REQUEST,
    271: HTTPStatus.BAD_REQUEST,
    457: HTTPStatus.BAD_REQUEST,
    46: HTTPStatus.NOT_FOUND,
    47: HTTPStatus.NOT_FOUND,
    60: HTTPStatus.NOT_FOUND,
    81: HTTPStatus.NOT_FOUND,
    48: HTTPStatus.NOT_IMPLEMENTED,
    159: HTTPStatus.REQUEST_TIMEOUT,
    164: HTTPStatus.FORBIDDEN,
    307: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    452: HTTPStatus.FORBIDDEN,
    497: HTTPStatus.FORBIDDEN,
    192: HTTPStatus.FORBIDDEN,
    193: HTTPStatus.FORBIDDEN,
    202: HTTPStatus.SERVICE_UNAVAILABLE,
    252: HTTPStatus.SERVICE_UNAVAILABLE,
    373: HTTPStatus.LOCKED,
    516: HTTPStatus.UNAUTHORIZED,
}
_CODE = re.compile(r"Code: (\d+)\. ")


class ClickHouseError(Exception):
    """A refusal or failure with ClickHouse's error number.

    Attributes:
        code: ClickHouse's error number.

    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @classmethod
    def of(cls, code: int, name: str, message: str) -> Self:
        """An error of this server's own, worded like the engine's."""
        return cls(code, f"Code: {code}. DB::Exception: {message}. ({name})")

    @classmethod
    def from_engine(cls, error: Exception) -> Self:
        """What chDB raised; the engine's own text starts at ``Code: ``."""
        text = str(error)
        found = _CODE.search(text)
        if found is None:
            return cls.of(UNKNOWN_EXCEPTION, "UNKNOWN_EXCEPTION", text or type(error).__name__)
        return cls(int(found[1]), text[found.start() :])

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status that ClickHouse answers with for this code."""
        return _STATUS.get(self.code, HTTPStatus.INTERNAL_SERVER_ERROR)
