"""The durable home of projects and keys: adding, listing and revoking them in ClickHouse."""

from __future__ import annotations

import re
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.cluster import EVERYWHERE
from shared.errors import PlauditError
from shared.keys import KeyKind, KeyRecord, fingerprint, token_hash

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_PROJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class KeyRefusedError(PlauditError):
    """A key or project that cannot be made or revoked as asked; the message says what to change."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One line of a listing. ``fingerprint`` names the key without telling it."""

    fingerprint: str
    kind: KeyKind
    project_ids: tuple[str, ...]


def mint(kind: KeyKind) -> str:
    """A new random token in the shape that the vendor's clients expect of such a key."""
    match kind:
        case KeyKind.LANGWATCH:
            return f"sk-lw-{secrets.token_urlsafe(36)}"
        case KeyKind.LUNARY_PUBLIC | KeyKind.LUNARY_PRIVATE:
            return str(uuid.uuid4())
        case KeyKind.READ:
            return f"plaudit-read-{secrets.token_urlsafe(32)}"


def normal_token(kind: KeyKind, token: str) -> str:
    """Lunary compares its UUID keys without regard to case. Raises KeyRefusedError for what no client can send."""
    if kind in (KeyKind.LUNARY_PUBLIC, KeyKind.LUNARY_PRIVATE):
        if not _UUID.fullmatch(token):
            raise KeyRefusedError("a Lunary key is a UUID: 8-4-4-4-12 hexadecimal digits")
        return token.lower()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise KeyRefusedError("a key is printable ASCII without spaces, since it travels in a header")
    return token


class KeyAdmin:
    """Works on the tables directly; every process learns of a change at its next refresh."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ensure_project(self, project_id: str) -> None:
        """Raises KeyRefusedError for a name that would not read well in a URL or a log."""
        if not _PROJECT_ID.fullmatch(project_id):
            raise KeyRefusedError("a project's name has 1 to 100 letters, digits, '_', '.' or '-'")
        known = self._client.query(
            "SELECT count() FROM projects WHERE project_id = {project:String}", {"project": project_id}
        ).result_rows[0][0]
        if not known:
            self._client.insert(
                "projects", [[project_id]], column_names=["project_id"], settings={"async_insert": 0, **EVERYWHERE}
            )

    def add(self, project_id: str, kind: KeyKind, token: str | None = None) -> str:
        """Binds a key to a project and returns the token; without one, a new one is minted.

        Adding the same again changes nothing. Raises KeyRefusedError if the token is known as another kind.
        """
        self.ensure_project(project_id)
        token = normal_token(kind, token if token is not None else mint(kind))
        for row in self._records(include_revoked=True):
            if row.token_hash == token_hash(token) and row.kind != kind:
                raise KeyRefusedError(f"this token is already a key of kind {row.kind}")
        self._write(token_hash(token), project_id, kind, revoked=False)
        return token

    def records(self) -> list[KeyRecord]:
        """All keys that hold, for a snapshot."""
        return self._records(include_revoked=False)

    def rows(self) -> list[KeyRow]:
        """All keys that hold, for a listing."""
        return [
            KeyRow(fingerprint(record.token_hash), KeyKind(record.kind), tuple(record.project_ids))
            for record in self.records()
        ]

    def revoke(self, token_or_fingerprint: str) -> KeyRow:
        """Raises KeyRefusedError if it names no key that holds, or more than one."""
        wanted = token_or_fingerprint
        hashes = {token_hash(wanted), token_hash(wanted.lower())}
        matching = [
            record
            for record in self.records()
            if record.token_hash in hashes or fingerprint(record.token_hash) == wanted.lower()
        ]
        if len(matching) != 1:
            raise KeyRefusedError(f"{len(matching)} keys match; name the token or the fingerprint of one")
        record = matching[0]
        for project_id in record.project_ids:
            self._write(record.token_hash, project_id, KeyKind(record.kind), revoked=True)
        return KeyRow(fingerprint(record.token_hash), KeyKind(record.kind), tuple(record.project_ids))

    def _records(self, *, include_revoked: bool) -> list[KeyRecord]:
        rows = self._client.query(
            "SELECT token_hash, any(kind), groupArray(project_id) FROM (SELECT * FROM api_keys FINAL) "
            "WHERE NOT revoked OR {all:Bool} GROUP BY token_hash ORDER BY token_hash",
            {"all": include_revoked},
        ).result_rows
        return [KeyRecord(bytes.fromhex(hashed), kind, sorted(projects)) for hashed, kind, projects in rows]

    def _write(self, hashed: bytes, project_id: str, kind: KeyKind, *, revoked: bool) -> None:
        self._client.insert(
            "api_keys",
            [[hashed.hex(), project_id, str(kind), revoked]],
            column_names=["token_hash", "project_id", "kind", "revoked"],
            settings={"async_insert": 0, **EVERYWHERE},
        )
