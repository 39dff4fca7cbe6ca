"""Which release this is."""

from __future__ import annotations

import importlib.metadata


def version() -> str:
    try:
        return importlib.metadata.version("plaudit")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "0"
