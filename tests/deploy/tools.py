"""Running programs, and where things lie."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from opentelemetry.sdk import environment_variables
from pydantic_settings import BaseSettings

from shared import settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def run(*command: str, env: Mapping[str, str] | None = None, seconds: float = 280.0) -> str:
    """Standard output of a program that must end well; else everything it wrote is the failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=seconds)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"[-6000:])
    return done.stdout


def known_variables() -> set[str]:
    """The environment that services read: our settings, and what OpenTelemetry's library reads itself."""
    groups = [group for group in vars(settings).values() if isinstance(group, type) and issubclass(group, BaseSettings)]
    ours = {
        f"{group.model_config.get('env_prefix', '')}{name.upper()}" for group in groups for name in group.model_fields
    }
    return ours | {name for name in vars(environment_variables) if name.startswith("OTEL_")}
