"""ClickHouse's HTTP interface: what a request says. See https://clickhouse.com/docs/interfaces/http."""

import base64
import binascii
import email.parser
import email.policy
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.standalone.clickhouse.codec import decode
from services.standalone.clickhouse.engine import Call
from services.standalone.clickhouse.errors import (
    AUTHENTICATION_FAILED,
    BAD_REQUEST_PARAMETER,
    NOT_IMPLEMENTED,
    UNKNOWN_SETTING,
    ClickHouseError,
)

# Parameters that speak to the HTTP interface; every other one is a setting.
_TRANSPORT: Final = frozenset(
    (
        "database",
        "query",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "quota_key",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "default_format",
        "user",
        "password",
        "role",
        "stacktrace",
        "client_protocol_version",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "enable_http_compression",
        "cancel_http_readonly_queries_on_client_close",
        "add_http_cors_header",
        "http_zlib_compression_level",
        "http_response_buffer_size",
        "close_session",
    )
)
_NAME: Final = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one user of the server."""

    user: str
    password: str

    def check(self, headers: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        """Compare with what a request carries: Basic, X-ClickHouse-User and -Key, or parameters.

        Raises:
            ClickHouseError: AUTHENTICATION_FAILED.

        """
        user, password = _given(headers, parameters)
        same = hmac.compare_digest(user.encode(), self.user.encode())
        if not (hmac.compare_digest(password.encode(), self.password.encode()) and same):
            raise ClickHouseError.of(
                AUTHENTICATION_FAILED,
                "AUTHENTICATION_FAILED",
                "Authentication failed: password is incorrect, or there is no user with such name",
            )


def _given(headers: Mapping[str, str], parameters: Mapping[str, str]) -> tuple[str, str]:
    if "x-clickhouse-user" in headers:
        return headers["x-clickhouse-user"], headers.get("x-clickhouse-key", "")
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    return parameters.get("user", "default"), parameters.get("password", "")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, decoded."""

    query: bytes
    body: bytes
    call: Call
    accept_encoding: str


def read_request(
    method: str, parameters: Mapping[str, str], headers: Mapping[str, str], raw: bytes, limit: int
) -> Request:
    """Decode a request that has been let in.

    Args:
        method: HTTP method; GET and HEAD may change nothing.
        parameters: Of the URL.
        headers: By lower-case name.
        raw: The body as received.
        limit: Bytes that the decoded body may have.

    Raises:
        ClickHouseError: The request cannot be understood.

    """
    body = decode(raw, headers.get("content-encoding", "").lower(), limit)
    merged = dict(parameters)
    if headers.get("content-type", "").startswith("multipart/form-data"):
        merged |= _form(headers["content-type"], body)
        body = b""
    if merged.get("compress") == "1" or merged.get("decompress") == "1":
        raise ClickHouseError.of(
            NOT_IMPLEMENTED, "NOT_IMPLEMENTED", "compress and decompress are not supported: use Content-Encoding"
        )
    settings = {name: value for name, value in merged.items() if name not in _TRANSPORT and name[:6] != "param_"}
    if bad := [name for name in settings if not _NAME.fullmatch(name)]:
        raise ClickHouseError.of(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting '{bad[0]}'")
    call = Call(
        database=merged.get("database") or headers.get("x-clickhouse-database"),
        settings=settings,
        parameters={name[6:]: value for name, value in merged.items() if name[:6] == "param_"},
        output_format=headers.get("x-clickhouse-format") or merged.get("default_format") or "TabSeparated",
        session_id=merged.get("session_id"),
        read_only=method in {"GET", "HEAD"},
    )
    compress = merged.get("enable_http_compression") == "1"
    return Request(
        query=merged.get("query", "").encode(errors="surrogateescape"),
        body=body,
        call=call,
        accept_encoding=headers.get("accept-encoding", "") if compress else "",
    )


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart body: clickhouse-connect sends long queries and parameters so."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + content_type.encode("latin-1") + b"\r\n\r\n" + body)
    fields = {}
    for part in message.iter_parts():
        if part.get_filename():
            raise ClickHouseError.of(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", "External data is not supported")
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(value, bytes):
            raise ClickHouseError.of(BAD_REQUEST_PARAMETER, "BAD_ARGUMENTS", "A part of the form has no name")
        fields[name] = value.decode(errors="surrogateescape")
    return fields
