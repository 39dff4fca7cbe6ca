"""Known weaknesses of the packages of a lock file: `python deploy/audit.py FILE.lock`.

pip-audit calls it a success when its advisory service knew none of the packages, which is what it sees behind a package
mirror. Here that is said: NOT RUN, with status 0, since nothing was found wrong; but some unknown among known ones, and
every weakness, end with status 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_SECONDS = 300


def audit(lock: str) -> list[dict[str, Any]] | None:
    """What pip-audit says of each package; None where it could not ask."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--requirement", lock]
    try:
        ended = subprocess.run(  # noqa: S603 -- our own words
            [*command, "--format", "json"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return found


def verdict(lock: str) -> tuple[int, str]:
    """Exit status and what to tell."""
    packages = audit(lock)
    if packages is None or all("skip_reason" in package for package in packages):
        return 0, f"audit of {lock}: NOT RUN, the advisory service cannot be asked from here\n"
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    lines = [
        f"{package['name']} {package['version']}: {weakness['id']}, fixed in {weakness['fix_versions'] or 'no release'}"
        for package in packages
        for weakness in package.get("vulns", [])
    ]
    summary = f"audit of {lock}: {len(packages) - len(unknown)} packages, {len(lines)} weaknesses"
    status = 1 if lines or unknown else 0
    if unknown:
        lines.append(f"not audited: {', '.join(unknown)}")
    return status, "\n".join([*lines, summary]) + "\n"


if __name__ == "__main__":
    exit_status, words = verdict(sys.argv[1])
    sys.stdout.write(words)
    sys.exit(exit_status)
