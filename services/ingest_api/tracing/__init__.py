"""Spans of the door: its requests and their appends. Imported only where tracing is on."""

from __future__ import annotations
