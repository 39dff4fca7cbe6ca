"""Where a vendor's own API is, and what a request looks like when it goes on there."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pydantic_core import Url

from services.ingest_api.replies import Header, Scope

_PORTS = {"http": 80, "https": 443}

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers between two neighbours only (RFC 9110, 7.6.1). All others are between client and vendor."""

_OURS = frozenset({b"host", b"content-length", b"expect"})
"""Of a request, what is said anew: to whom it goes, how long it is; and nobody waits for a 100 any more."""

_FORWARDED = b"x-forwarded-for"
_NOT_AS_IT_IS = _HOP_BY_HOP | _OURS | {_FORWARDED}
_SPECIAL = frozenset({b"connection", _FORWARDED})


class Upstream(NamedTuple):
    """A vendor's API. authority: its host, with the port where that is not the scheme's own. prefix: of all paths.
    ca_file: PEM certificates of authorities that are trusted here besides the system's.
    """

    scheme: str
    host: str
    port: int
    authority: str
    prefix: str
    ca_file: Path | None = None

    @property
    def tls(self) -> ssl.SSLContext | None:
        """A new context that checks the certificate and its name by the system's authorities (or SSL_CERT_FILE) and
        those of ``ca_file``; None for http.
        """
        if self.scheme != "https":
            return None
        context = ssl.create_default_context()
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        return context

    @property
    def base(self) -> str:
        """The URL that a path and query are put behind; never another host, since a path begins with a slash."""
        return f"{self.scheme}://{self.authority}{self.prefix}"


def upstream(url: Url, ca_file: Path | None = None) -> Upstream:
    """``url`` as checked by the settings: http or https, with a host, without user, query and fragment."""
    host = url.host or ""
    port = url.port or _PORTS[url.scheme]
    authority = host if port == _PORTS[url.scheme] else f"{host}:{port}"
    return Upstream(url.scheme, host.strip("[]"), port, authority, (url.path or "").rstrip("/"), ca_file)


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """Those that are not for the neighbour alone, by their names or because Connection lists them."""
    headers = list(headers)
    gone = _HOP_BY_HOP | _listed(headers)
    return [(name, value) for name, value in headers if name.lower() not in gone]


def _listed(headers: Iterable[Header]) -> set[bytes]:
    """The names that a Connection header calls its own."""
    return {
        name.strip().lower()
        for header, value in headers
        if header.lower() == b"connection"
        for name in value.split(b",")
    }


def request_headers(scope: Scope, *, forwarded_for: bool) -> list[Header]:
    """A request's headers as they go on: in their order, the client's credentials among them.

    forwarded_for: add the client's address, as proxies do. Vendors limit requests by client; without it all of a
    team's clients would be one.
    """
    kept: list[Header] = []
    special: list[Header] = []
    for header in scope["headers"]:
        if header[0] not in _NOT_AS_IT_IS:
            kept.append(header)
        elif header[0] in _SPECIAL:
            special.append(header)
    if special:
        listed = _listed(special)
        kept = [header for header in kept if header[0] not in listed]
    hops = [value for name, value in special if name == _FORWARDED] if special else []
    if forwarded_for and (client := scope.get("client")):
        hops.append(client[0].encode("latin-1"))
    if hops:
        kept.append((_FORWARDED, b", ".join(hops)))
    return kept


def target(scope: Scope) -> bytes:
    """Path and query exactly as they were asked for."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


class HeadWriter:
    """Writes the first lines of requests to one upstream."""

    def __init__(self, to: Upstream) -> None:
        self._prefix = to.prefix.encode()
        self._host = b"host: %b\r\n" % to.authority.encode()

    def __call__(self, method: str, place: bytes, headers: Iterable[Header], length: int) -> bytes:
        """``place``: path and query as asked for. ``length``: bytes of the body."""
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return b"%b %b%b HTTP/1.1\r\n%bcontent-length: %d\r\n%b\r\n" % (
            method.encode(),
            self._prefix,
            place,
            self._host,
            length,
            lines,
        )
