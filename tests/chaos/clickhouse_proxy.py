"""ClickHouse's HTTP interface with faults: answers of our choosing to inserts, delays, and answers that get lost."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

_HOP = {"transfer-encoding", "connection", "host", "content-length"}


@dataclass(frozen=True)
class Refuse:
    """Inserts are answered with this error, and never reach the server."""

    code: int
    name: str


@dataclass(frozen=True)
class Slow:
    """Inserts take so many seconds longer."""

    seconds: float


@dataclass(frozen=True)
class LoseAnswer:
    """Inserts succeed, then the connection breaks instead of the answer."""


@dataclass(frozen=True)
class Hold:
    """Inserts never arrive, and nothing is answered, until ``released``."""

    released: threading.Event


Fault = Refuse | Slow | LoseAnswer | Hold


class ClickHouseProxy:
    """In front of the server on one port of this machine. ``fault`` applies to inserts from the moment it is set."""

    def __init__(self, target: int) -> None:
        self.fault: Fault | None = None
        self.met = 0
        """Inserts that met a fault."""
        self._server = _Server(self, target)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self.fault, Hold):
            self.fault.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: ClickHouseProxy, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        self.target = target


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self._body())

    def log_message(self, *_: object) -> None:
        """The test's output is not an access log."""

    def _serve(self, body: bytes) -> None:
        fault = self.server.proxy.fault if self._is_insert(body) else None
        if fault is not None:
            self.server.proxy.met += 1
        match fault:
            case Refuse(code, name):
                text = f"Code: {code}. DB::Exception: refused by the test. ({name})\n".encode()
                self._answer(500, {"X-ClickHouse-Exception-Code": str(code)}, text)
                return
            case Slow(seconds):
                time.sleep(seconds)
            case Hold(released):
                released.wait()
                self.close_connection = True
                return
            case _:
                pass
        try:
            status, headers, answer = self._forward(body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        if isinstance(fault, LoseAnswer):
            self.close_connection = True
        else:
            self._answer(status, headers, answer)

    def _is_insert(self, body: bytes) -> bool:
        query = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
        # The client compresses inserts only, the statement in them included.
        return bool(body) and (
            "Content-Encoding" in self.headers
            or query.lstrip().upper().startswith("INSERT")
            or body[:20].lstrip().upper().startswith(b"INSERT")
        )

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        try:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # Who asked was killed meanwhile.
            self.close_connection = True
