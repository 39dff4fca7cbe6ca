"""What the deployment's tests share: the image, built once, and tools that may be missing. What is skipped says why."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .tools import DEPLOY, ROOT, run

IMAGE = "plaudit:test"
BASE_IMAGE = "python:3.12-slim-bookworm"


@pytest.fixture(scope="session")
def docker() -> str:
    """The client; the daemon answers."""
    client = shutil.which("docker")
    if client is None or subprocess.run([client, "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker daemon answers")
    return client


@pytest.fixture(scope="session")
def image(docker: str) -> str:
    """The image as it is shipped, built from this tree."""
    if subprocess.run([docker, "image", "inspect", BASE_IMAGE], capture_output=True, check=False).returncode:
        pulled = subprocess.run([docker, "pull", BASE_IMAGE], capture_output=True, check=False)
        if pulled.returncode:
            pytest.skip(f"{BASE_IMAGE} is not here and cannot be pulled")
    run(
        docker, "build", "--file", str(DEPLOY / "Dockerfile"), "--tag", IMAGE, "--build-arg", "VERSION=1.2.3", str(ROOT)
    )
    return IMAGE


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's own checker."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return found


@pytest.fixture(scope="session")
def rules() -> Path:
    """The alert rules."""
    return DEPLOY / "alerts" / "plaudit.rules.yaml"
