"""The vendors' own clients, and the stack that they speak to instead of their vendor's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.up_stack import ROOT, Ready, running_up

NPM_LUNARY = "lunary@1.0.18"
_CACHE = ROOT / ".cache" / "npm"
_CLIENT_SECONDS = 60


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    with running_up(tmp_path_factory.mktemp("sdk")) as ready:
        yield ready


@pytest.fixture
def lunary_environment(stack: Ready) -> dict[str, str]:
    """All that an application changes: the URL, and the key."""
    cleared = {name: value for name, value in os.environ.items() if "LUNARY" not in name and "LLMONITOR" not in name}
    return cleared | {"LUNARY_API_URL": stack.ingest_url, "LUNARY_PUBLIC_KEY": stack.keys["lunary_public"]}


@pytest.fixture(scope="session")
def npm_lunary() -> Path:
    """A folder in which ``lunary`` of npm is installed."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("NO NPM or NO NODE here: Lunary's JavaScript SDK is NOT tested; install Node.js 18 or later")
    home = _CACHE / NPM_LUNARY
    if (home / "node_modules" / "lunary" / "package.json").exists():
        return home
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as fresh:
        command = [npm, "install", "--prefix", fresh, "--no-audit", "--no-fund", "--ignore-scripts", NPM_LUNARY]
        installed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        if installed.returncode:
            pytest.skip(f"{NPM_LUNARY} CANNOT BE INSTALLED: its SDK is NOT tested; npm says: {installed.stderr[-500:]}")
        # Whole or not at all, also when two runs of the suite meet here.
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(fresh, home, symlinks=True, dirs_exist_ok=True)
    return home


Run = Callable[..., str]


@pytest.fixture
def run_python(lunary_environment: dict[str, str]) -> Run:
    """Runs a program with the installed Python packages; gives what it printed."""

    def run(program: str, *arguments: str, **environment: str) -> str:
        return _run([sys.executable, "-c", program, *arguments], ROOT, lunary_environment | environment)

    return run


@pytest.fixture
def run_node(npm_lunary: Path, lunary_environment: dict[str, str]) -> Run:
    """Runs an ECMAScript module beside the installed npm packages; gives what it printed."""

    def run(program: str, *arguments: str, **environment: str) -> str:
        command = ["node", "--input-type=module", "--eval", program, "--", *arguments]
        return _run(command, npm_lunary, lunary_environment | environment)

    return run


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_CLIENT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    # The SDKs swallow what goes wrong, and say so here.
    assert "Error sending event" not in done.stdout + done.stderr
    return done.stdout
