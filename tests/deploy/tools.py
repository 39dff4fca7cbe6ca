"""Running programs, and where things lie."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def run(*command: str, env: Mapping[str, str] | None = None, seconds: float = 280.0) -> str:
    """Standard output of a program that must end well; else everything it wrote is the failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=seconds)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"[-6000:])
    return done.stdout
