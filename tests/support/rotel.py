"""Rotel, a collector of OpenTelemetry that others made: its program from PyPI, installed once into a cache."""

from __future__ import annotations

import contextlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.standalone.process import free_port
from tests.support.npm import CACHE

_SPEC = "rotel==0.0.1a15"
_START_SECONDS = 20


def program() -> Path:
    """Where it is; skips the test, loudly, where it cannot be had."""
    home = CACHE / "pypi" / f"{_SPEC}-{platform.machine()}-{sys.version_info.major}.{sys.version_info.minor}"
    agent = home / "rotel" / "rotel-agent"
    if agent.exists():
        return agent
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as fresh:
        uv = str(Path(sys.executable).parent / "uv")
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", fresh, _SPEC]
        done = subprocess.run(
            [*command, "--python", sys.executable], capture_output=True, text=True, check=False, timeout=240
        )
        if done.returncode:
            pytest.skip(f"{_SPEC} CANNOT BE INSTALLED: NO real collector is tested; uv says: {done.stderr[-500:]}")
        # Whole or not at all, also when two runs of the suite meet here.
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(fresh, home, dirs_exist_ok=True)
    return agent


@contextlib.contextmanager
def running_rotel(log: Path, to: str) -> Iterator[str]:
    """The URL at which it takes spans, which it passes on to the collector at ``to``."""
    http, grpc = free_port(), free_port()
    options = {
        "--otlp-http-endpoint": f"127.0.0.1:{http}",
        "--otlp-grpc-endpoint": f"127.0.0.1:{grpc}",
        "--exporter": "otlp",
        "--otlp-exporter-endpoint": to,
        "--otlp-exporter-protocol": "http",
        "--debug-log": "traces",
    }
    with log.open("wb") as output:
        arguments = [part for option in options.items() for part in option]
        rotel = subprocess.Popen([program(), "start", *arguments], stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while "Starting Rotel" not in log.read_text():
            assert rotel.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{http}"
    finally:
        rotel.terminate()
        try:
            rotel.wait(20)
        except subprocess.TimeoutExpired:
            rotel.kill()
            rotel.wait()
