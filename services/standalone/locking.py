"""An exclusive lock on a folder, held for the life of a process."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.errors import PlauditError

LOCK_NAME = "lock"


class FolderLockedError(PlauditError):
    """Another process holds the folder.

    Attributes:
        folder: The folder that was asked for.
        holder: Process id of the holder, or None where it could not be read.

    """

    def __init__(self, folder: Path, holder: int | None) -> None:
        self.folder = folder
        self.holder = holder
        who = "another process" if holder is None else f"process {holder}"
        super().__init__(f"{folder} is in use by {who}; stop it first or choose another folder")


class FolderLock:
    """Locks ``folder`` (created with mode 0700 where it is missing) until :meth:`release`.

    The lock is the kernel's (flock): it ends with the process, however that ends, so that a crash leaves
    nothing behind that would have to be cleaned up.

    Raises:
        FolderLockedError: Another process holds it.

    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Python opens files non-inheritable: a child must not keep the lock alive after its parent.
        self._fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise FolderLockedError(folder, int(holder) if holder.isdigit() else None) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the folder free. The file stays: removing it would let two holders lock two files."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
