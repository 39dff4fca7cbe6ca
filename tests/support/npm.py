"""Packages of npm for tests, installed once into a cache beside the work tree's other caches."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

LUNARY = "lunary@1.0.18"
LANGWATCH = "langwatch@0.16.1"

CACHE = Path(__file__).resolve().parents[2] / ".cache"
"""Beside the work tree's other caches: what tests install once."""

_NPM = CACHE / "npm"


def installed(spec: str) -> Path:
    """A folder in which ``spec`` (name@version) is installed; skips the test, loudly, where that cannot be."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip(f"NO NPM or NO NODE here: {spec} is NOT tested; install Node.js 18 or later")
    name = spec.rpartition("@")[0]
    home = _NPM / spec
    if (home / "node_modules" / name / "package.json").exists():
        return home
    _NPM.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_NPM) as fresh:
        command = [npm, "install", "--prefix", fresh, "--no-audit", "--no-fund", "--ignore-scripts", spec]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        if done.returncode:
            pytest.skip(f"{spec} CANNOT BE INSTALLED: its SDK is NOT tested; npm says: {done.stderr[-500:]}")
        # Whole or not at all, also when two runs of the suite meet here.
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(fresh, home, symlinks=True, dirs_exist_ok=True)
    return home
