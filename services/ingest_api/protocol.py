"""uvicorn's HTTP protocol with what it has not got: a bound on the head of a request, and extensions of ASGI to take a
whole body and to send a whole reply at once.

What is used of uvicorn's insides is used here only; tests tell when a release of it changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .body import WHOLE_BODY
from .replies import AT_ONCE, Reply, Scope

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HEAD_LIMIT = 64 * 1024
"""Bytes of a request line with its headers. Real ones have one or two thousand; Node stops at 16 KiB."""

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 4 * HEAD_LIMIT
"""For so long, and so many bytes, a client that was refused may go on sending before it reads why."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class DoorProtocol(HttpToolsProtocol):
    """Looks only at heads that did not come in one read: those are bounded by the size of a read."""

    _head_bytes = 0
    _refused = False
    _defaults: list[tuple[bytes, bytes]] | None = None
    _defaults_written = b""

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # Methods of the connection: a request that led back to itself would be left to the garbage collector.
        extensions: Any = {AT_ONCE: self._reply_at_once, WHOLE_BODY: self._whole_body}
        cycle.scope["extensions"] = extensions
        super()._start_asgi_task(cycle, app)

    def _whole_body(self, scope: Scope) -> bytes | None:
        cycle = self.cycle
        # A client that does not wait for answers has a later request here.
        if cycle.scope is not scope or cycle.more_body or cycle.disconnected:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    def _reply_at_once(self, scope: Scope, reply: Reply) -> bool:
        """What uvicorn's ``send`` does with a response's start and its body, for a client that reads and stays."""
        cycle = self.cycle
        if cycle.scope is not scope or cycle.disconnected or cycle.response_started or not cycle.keep_alive:
            return False
        if reply.closes or self.flow.write_paused or scope["method"] == "HEAD":
            return False
        defaults = self.server_state.default_headers
        if self._defaults is not defaults:
            # The date: uvicorn makes a new list once a second.
            self._defaults, self._defaults_written = defaults, b"".join([b"%b: %b\r\n" % each for each in defaults])
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.write(b"%b%b\r\n%b" % (reply.head, self._defaults_written, reply.body))
        cycle.message_event.set()
        cycle.on_response()
        return True

    @override
    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._drop(data)
            return
        super().data_received(data)
        # uvicorn fills in the method when the head is complete.
        scope: Any = self.scope
        if scope is None or "method" in scope:
            if self._head_bytes:
                self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_LIMIT and not self.transport.is_closing():
            # An answer now would be taken for that of a request before, if one is still being served.
            if self.cycle is None or self.cycle.response_complete:
                self._refuse()
            else:
                self.transport.close()

    def _refuse(self) -> None:
        # Closed at once, with bytes of the client unread, the connection would be reset and the answer lost with it.
        self._refused = True
        self._head_bytes = 0
        self.transport.write(_TOO_LARGE)
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _drop(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._head_bytes > _LINGER_BYTES:
            self.transport.close()
