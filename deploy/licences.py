"""Writes the licences of the packages of a lock file as Markdown: `python deploy/licences.py FILE.lock`.

From what each installed package says of itself. Ends with status 1 where one says nothing.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

_HEAD = """# Licences of the packages in the image

Made by `make licences` from what each package says of itself. Plaudit itself: Apache-2.0.

| package | version | licence |
|---|---|---|
"""


def licence(package: metadata.PackageMetadata) -> str:
    """The SPDX expression, else the classifiers, else the first line of the free text; empty where there is none."""
    if expression := package.get("License-Expression"):
        return str(expression)
    classifiers = [
        name.rpartition(" :: ")[2] for name in package.get_all("Classifier") or [] if name.startswith("License")
    ]
    named = [name for name in classifiers if name != "OSI Approved"]
    return ", ".join(named) or str(package.get("License") or "").partition("\n")[0]


def rows(lock: str) -> list[tuple[str, str, str]]:
    found = []
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE):
        try:
            package = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue  # of another system or Python
        found.append((package["Name"], package["Version"], licence(package)))
    return sorted(found, key=lambda row: row[0].lower())


def main() -> int:
    found = rows(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(_HEAD + "".join(f"| {name} | {version} | {terms or '?'} |\n" for name, version, terms in found))
    return 0 if found and all(terms for _, _, terms in found) else 1


if __name__ == "__main__":
    sys.exit(main())
