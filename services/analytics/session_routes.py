"""Log in, log out, and who is logged in. A form of another site cannot send JSON, and no cookie would come along."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from .errors import ApiError
from .parts import PartsOf, ReaderOf
from .sessions import COOKIE


class LogIn(BaseModel):
    key: str = Field(min_length=1, max_length=500, description="A read key.")


class Who(BaseModel):
    project: str
    projects: list[str]


def check_json(request: Request) -> None:
    """Raises ApiError for what a form could have sent."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "not_json", "Send the key as JSON: Content-Type: application/json.")


router = APIRouter(prefix="/api/session", tags=["session"])


@router.post(
    "", status_code=204, summary="Log in with a read key; the answer sets a cookie", dependencies=[Depends(check_json)]
)
async def log_in(request: Request, body: LogIn, parts: PartsOf) -> Response:
    key = await parts.access.log_in(body.key.strip())
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        parts.access.cookie_of(key),
        max_age=parts.access.lifetime,
        httponly=True,
        secure=parts.access.is_secure(request),
        samesite="strict",
    )
    return response


@router.delete("", status_code=204, summary="Log out")
async def log_out(request: Request, parts: PartsOf) -> Response:
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, secure=parts.access.is_secure(request), samesite="strict")
    return response


@router.get("", summary="Whose answers these are")
async def who(reader: ReaderOf) -> Who:
    return Who(project=reader.project, projects=list(reader.projects))
