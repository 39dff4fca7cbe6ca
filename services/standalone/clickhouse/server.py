"""The HTTP server: routes, limits and answers."""

import json
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.standalone.clickhouse.codec import encode, too_large
from services.standalone.clickhouse.engine import Engine, Outcome
from services.standalone.clickhouse.errors import AUTHENTICATION_FAILED, ClickHouseError
from services.standalone.clickhouse.guard import check_origin
from services.standalone.clickhouse.protocol import Credentials, Request, read_request
from services.standalone.clickhouse.statement import parse

log = structlog.get_logger()

_METHODS: Final = ["GET", "POST"]
_THREADS: Final = 32
_HTTP_CLIENT_CLOSED: Final = 499


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What the server is told.

    Attributes:
        credentials: The one user, or None to let everybody on this machine in.
        port: Where it listens; Host headers are checked against it.
        max_request_bytes: Bytes of one request, compressed and not.

    """

    credentials: Credentials | None
    port: int
    max_request_bytes: int


@dataclass(frozen=True, slots=True)
class _Answer:
    data: bytes
    headers: dict[str, str]


class ClickHouseHttp:
    """ClickHouse's HTTP interface in front of an engine."""

    def __init__(self, engine: Engine, options: ServerOptions) -> None:
        self._engine = engine
        self._options = options
        self._limiter = CapacityLimiter(_THREADS)

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/", self._query, methods=_METHODS),
            Route("/ping", self._ping, methods=_METHODS),
            Route("/replicas_status", self._ping, methods=_METHODS),
        ]
        return Starlette(routes=routes)

    async def _ping(self, request: HttpRequest) -> Response:
        try:
            check_origin(request.headers.get("host"), request.headers.get("origin"), self._options.port)
        except ClickHouseError as error:
            return self._failure(error, {})
        return PlainTextResponse("Ok.\n")

    async def _query(self, request: HttpRequest) -> Response:
        headers = dict(request.headers)
        parameters = dict(request.query_params)
        base = {
            "X-ClickHouse-Server-Display-Name": "plaudit-embedded",
            "X-ClickHouse-Query-Id": parameters.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        try:
            check_origin(headers.get("host"), headers.get("origin"), self._options.port)
            if self._options.credentials is not None:
                self._options.credentials.check(headers, parameters)
            body = await self._body(request)
            work = partial(self._answer, request.method, parameters, headers, body)
            answer = await to_thread.run_sync(work, limiter=self._limiter)
        except ClickHouseError as error:
            return self._failure(error, base)
        except ClientDisconnect:
            return Response(status_code=_HTTP_CLIENT_CLOSED)
        return Response(answer.data, headers=base | answer.headers)

    async def _body(self, request: HttpRequest) -> bytes:
        limit = self._options.max_request_bytes
        if int(request.headers.get("content-length", "0")) > limit:
            raise too_large(limit)
        parts = bytearray()
        async for part in request.stream():
            parts += part
            if len(parts) > limit:
                raise too_large(limit)
        return bytes(parts)

    def _answer(self, method: str, parameters: dict[str, str], headers: dict[str, str], raw: bytes) -> _Answer:
        started = time.perf_counter_ns()
        request = read_request(method, parameters, headers, raw, self._options.max_request_bytes)
        statement = parse(request.query, request.body, self._engine.tokenize)
        if statement is None:
            return _Answer(b"Ok.\n", {})
        outcome = self._engine.run(statement, request.call)
        answer_headers = {"X-ClickHouse-Summary": _summary(outcome, time.perf_counter_ns() - started)}
        if statement.output_format or outcome.data:
            answer_headers["X-ClickHouse-Format"] = statement.output_format or request.call.output_format
        data = outcome.data
        if data:
            data = _compress(request, data, answer_headers)
        return _Answer(data, answer_headers)

    def _failure(self, error: ClickHouseError, base: dict[str, str]) -> Response:
        text = f"{error} (version {self._engine.version} (embedded))\n"
        headers = base | {"X-ClickHouse-Exception-Code": str(error.code)}
        if error.code == AUTHENTICATION_FAILED:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        log.info("statement_failed", code=error.code, query_id=base.get("X-ClickHouse-Query-Id"))
        return PlainTextResponse(text, status_code=error.status, headers=headers)


def _compress(request: Request, data: bytes, headers: dict[str, str]) -> bytes:
    data, encoding = encode(data, request.accept_encoding)
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    return data


def _summary(outcome: Outcome, elapsed_ns: int) -> str:
    counts = {
        "read_rows": outcome.read_rows,
        "read_bytes": outcome.read_bytes,
        "written_rows": outcome.written_rows,
        "written_bytes": outcome.written_bytes,
        "total_rows_to_read": 0,
        "result_rows": outcome.result_rows,
        "result_bytes": outcome.result_bytes,
        "elapsed_ns": elapsed_ns,
    }
    return json.dumps({name: str(count) for name, count in counts.items()})
