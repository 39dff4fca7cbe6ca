"""uvicorn's HTTP protocol with a bound on the head of a request, which its parser has not got."""

from __future__ import annotations

from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT = 64 * 1024
"""Bytes of a request line with its headers. Real ones have one or two thousand; Node stops at 16 KiB."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHeadProtocol(HttpToolsProtocol):
    """Looks only at heads that did not come in one read: those are bounded by the size of a read."""

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn fills in the method when the head is complete.
        scope = cast("dict[str, object] | None", self.scope)
        if scope is None or "method" in scope:
            if self._head_bytes:
                self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_LIMIT and not self.transport.is_closing():
            # An answer now would be taken for that of a request before, if one is still being served.
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_TOO_LARGE)
            self.transport.close()
