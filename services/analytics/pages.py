"""The page: static files, read once, under names that change with their content.

All files lie below ``/assets/<digest of all of them>/``, so that browsers may keep them for ever and a release is seen
at once; only ``/`` is asked for again, by ETag. The page loads nothing from anywhere else, and its policy says so.
"""

from __future__ import annotations

import gzip
import html
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

WEB: Final = Path(__file__).parent / "web"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"

_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
_COMPRESS_FROM: Final = 1024


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent: plain, and gzipped where that pays."""

    content: bytes = field(repr=False)
    media_type: str
    etag: str
    gzipped: bytes | None = field(repr=False)

    @classmethod
    def of(cls, content: bytes, name: str) -> Asset:
        suffix = Path(name).suffix
        media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "text/plain"
        text = media_type.startswith("text/") or suffix == ".svg"
        return cls(
            content,
            f"{media_type}; charset=utf-8" if text else media_type,
            f'"{blake2b(content, digest_size=12).hexdigest()}"',
            gzip.compress(content, mtime=0) if text and len(content) >= _COMPRESS_FROM else None,
        )

    def response(self, request: Request, cache_control: str) -> Response:
        """The file, or 304 where the client has it."""
        headers = {**SECURITY_HEADERS, "cache-control": cache_control, "etag": self.etag, "vary": "accept-encoding"}
        known = request.headers.get("if-none-match", "")
        if self.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        content = self.content
        if self.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
            content = self.gzipped
            headers["content-encoding"] = "gzip"
        return Response(content, media_type=self.media_type, headers=headers)


def pages(*, ingest_url: str | None = None, folder: Path = WEB) -> Starlette:
    """The page as an ASGI application; mount it at ``/`` behind the API's routes.

    ingest_url: where clients send feedback, for the line that tells how to send the first event; unknown: the page
    takes its own host with the door's usual port.
    """
    assets = {
        path.relative_to(folder).as_posix(): Asset.of(path.read_bytes(), path.name)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    release = _digest(assets)
    template = assets.pop("index.html").content.decode()
    index = template.replace("{{assets}}", f"assets/{release}").replace("{{ingest_url}}", html.escape(ingest_url or ""))
    page = Asset.of(index.encode(), "index.html")

    async def show(request: Request) -> Response:
        return page.response(request, ASK_AGAIN)

    async def asset(request: Request) -> Response:
        found = assets.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        # While a release rolls out, a page of one release may ask a process of another: it gets what there is.
        own = request.path_params["release"] == release
        return found.response(request, FOR_EVER if own else ASK_AGAIN)

    async def favicon(request: Request) -> Response:
        return assets["favicon.svg"].response(request, ASK_AGAIN)

    async def refuse(_request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        code, message = (
            ("method_not_allowed", "This address is read with GET.")
            if status == 405
            else ("not_found", "There is nothing here. The page is at /, the API is described at /docs.")
        )
        return JSONResponse({"error": code, "message": message}, status, dict(SECURITY_HEADERS))

    return Starlette(
        routes=[
            Route("/", show),
            Route("/favicon.ico", favicon),
            Route("/assets/{release}/{name:path}", asset),
        ],
        exception_handlers={404: refuse, 405: refuse},
    )


def _digest(assets: Mapping[str, Asset]) -> str:
    digest = blake2b(digest_size=8)
    for name, found in assets.items():
        digest.update(f"{name}={found.etag};".encode())
    return digest.hexdigest()
