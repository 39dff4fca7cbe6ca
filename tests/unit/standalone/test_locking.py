import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from services.standalone.locking import FolderLock, FolderLockedError

HOLDER = """
import pathlib, sys
from services.standalone.locking import FolderLock
lock = FolderLock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_comer_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(FolderLockedError) as caught:
        FolderLock(tmp_path)
    assert caught.value.holder == os.getpid()
    assert str(tmp_path) in str(caught.value)


def test_a_released_folder_can_be_taken_again(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        pass
    with FolderLock(tmp_path) as lock:
        lock.release()
        lock.release()


def test_a_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FolderLockedError, match=f"process {holder.pid}"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
    FolderLock(tmp_path).release()


def test_a_missing_folder_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    FolderLock(folder).release()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
