"""The folder that holds everything of one standalone stack."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from shared.errors import PlauditError
from shared.keys import KeyKind
from shared.keys_admin import mint

_SECRET_BYTES: Final = 24
READY_FILE: Final = "ready.json"


class BrokenCredentialsError(PlauditError):
    """``credentials.json`` is there but cannot be read; without it the data cannot be opened again."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        super().__init__(f"{path} cannot be read ({reason}); restore it, or move the folder away to start anew")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Passwords of the embedded servers and the keys of the default project; made once, then kept.

    Attributes:
        redis_password: Of Valkey's default user.
        clickhouse_password: Of the embedded ClickHouse's one user.
        langwatch: Key of the LangWatch clients.
        lunary_public: Lunary's public key: writes only.
        lunary_private: Lunary's private key.
        read: Key of the query API.

    """

    redis_password: str = field(repr=False)
    clickhouse_password: str = field(repr=False)
    langwatch: str = field(repr=False)
    lunary_public: str = field(repr=False)
    lunary_private: str = field(repr=False)
    read: str = field(repr=False)

    @property
    def tokens(self) -> dict[KeyKind, str]:
        """The keys by kind."""
        return {
            KeyKind.LANGWATCH: self.langwatch,
            KeyKind.LUNARY_PUBLIC: self.lunary_public,
            KeyKind.LUNARY_PRIVATE: self.lunary_private,
            KeyKind.READ: self.read,
        }


def default_folder() -> Path:
    """``$XDG_DATA_HOME/plaudit``, or ``~/.local/share/plaudit``."""
    base = os.environ.get("XDG_DATA_HOME", "")
    # The specification says that a relative path is to be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "share"
    return root / "plaudit"


def write_private(path: Path, text: str) -> None:
    """Write a file whole (never half of it is seen) and readable by the user only."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_credentials(folder: Path) -> Credentials:
    """The folder's credentials, made and kept where there are none. The caller holds the folder's lock.

    Raises:
        BrokenCredentialsError: The file is there but is not what was written.

    """
    path = folder / "credentials.json"
    try:
        return Credentials(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError) as error:
        raise BrokenCredentialsError(path, str(error)) from error
    made = Credentials(
        redis_password=secrets.token_urlsafe(_SECRET_BYTES),
        clickhouse_password=secrets.token_urlsafe(_SECRET_BYTES),
        langwatch=mint(KeyKind.LANGWATCH),
        lunary_public=mint(KeyKind.LUNARY_PUBLIC),
        lunary_private=mint(KeyKind.LUNARY_PRIVATE),
        read=mint(KeyKind.READ),
    )
    write_private(path, json.dumps(asdict(made), indent=2) + "\n")
    return made
