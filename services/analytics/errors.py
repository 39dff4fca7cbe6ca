"""What the API refuses, and how it says so: a code for programs, and for people what to change."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from shared.errors import PlauditError


class ApiError(PlauditError):
    """An answer that is no answer. ``retry_after`` in seconds."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after

    def response(self) -> JSONResponse:
        headers = {"cache-control": "no-store"}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.status == 401:
            headers["www-authenticate"] = 'Bearer realm="plaudit"'
        return JSONResponse({"error": self.code, "message": self.message}, self.status, headers)


def bad_parameter(name: str, what_to_change: str) -> ApiError:
    return ApiError(400, "bad_parameter", f"{name}: {what_to_change}")


def unavailable(store: str) -> ApiError:
    """A server behind us is away; its own words go to the log, not to the client."""
    name = {"clickhouse": "ClickHouse", "redis": "Redis"}.get(store, store)
    return ApiError(503, f"{store}_unavailable", f"{name} does not answer at present; try again.", retry_after=2)
