"""Log in, log out, and who is logged in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from .access import Access, Reader
from .errors import ApiError
from .sessions import COOKIE


class LogIn(BaseModel):
    key: str = Field(min_length=1, max_length=500, description="A read key.")


class Who(BaseModel):
    project: str
    projects: list[str]


def session_api(access: Access) -> APIRouter:
    """The page's log-in. A form of another site cannot send JSON, and its cookie would not come along."""
    router = APIRouter(prefix="/api/session", tags=["session"])

    @router.post("", status_code=204, summary="Log in with a read key; the answer sets a cookie")
    async def log_in(request: Request, body: LogIn) -> Response:
        _check_json(request)
        key = await access.log_in(body.key.strip())
        response = Response(status_code=204)
        response.set_cookie(
            COOKIE,
            access.cookie_of(key),
            max_age=access.lifetime,
            httponly=True,
            secure=access.is_secure(request),
            samesite="strict",
        )
        return response

    @router.delete("", status_code=204, summary="Log out")
    async def log_out(request: Request) -> Response:
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, secure=access.is_secure(request), samesite="strict")
        return response

    @router.get("", summary="Whose answers these are")
    async def who(reader: Annotated[Reader, Depends(access.reader)]) -> Who:
        return Who(project=reader.project, projects=list(reader.projects))

    return router


def _check_json(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "not_json", "Send the key as JSON: Content-Type: application/json.")
