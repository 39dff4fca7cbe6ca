"""An authority made for one test, and servers with certificates of its own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import trustme


@dataclass
class ServerTls:
    """A server's side. ``asked``: for whom clients took it (SNI), one a handshake; None for a client that did not say."""

    context: ssl.SSLContext
    asked: list[str | None] = field(default_factory=list)


class Authority:
    """``file``: its certificate, for those who shall trust it."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def server(self, name: str = "localhost", *, until: datetime | None = None) -> ServerTls:
        """``name``: whose certificate it shows. ``until``: when that ends; far away, if not told."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(name, not_after=until).configure_cert(context)
        tls = ServerTls(context)
        context.sni_callback = lambda _connection, asked, _context: tls.asked.append(asked)
        return tls
