"""The vendors' own clients, and the stack that they speak to instead of their vendor's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import npm
from tests.support.up_stack import ROOT, Ready, running_up

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
    return npm.installed(npm.LUNARY)


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
