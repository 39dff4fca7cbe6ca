"""The table of cases in ``docs/compatibility.md``, made of the cases: ``python -m tests.contract.table`` writes it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.contract.replay import load

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
_BEGIN = "<!-- cases: made by python -m tests.contract.table -->\n"
_END = "<!-- end of cases -->\n"
_VENDORS = {"LangWatch": "langwatch.jsonl", "Lunary": "lunary.jsonl"}

AS_THE_VENDOR = "as the vendor"
BETTER = "better on purpose"
LATER = "not taken in yet"


def verdict(case: dict[str, Any]) -> str:
    """What Plaudit does with a case."""
    ours = case.get("plaudit")
    if ours is None:
        return AS_THE_VENDOR
    return LATER if ours.get("later") else BETTER


def render() -> str:
    """The counts, and each case that is answered otherwise with its reason."""
    cases = [(vendor, case) for vendor, name in _VENDORS.items() for case in load(name)]
    counts = Counter((vendor, verdict(case)) for vendor, case in cases)
    verdicts = (AS_THE_VENDOR, BETTER, LATER)
    lines = [f"| | cases | {' | '.join(verdicts)} |", "|---|---|---|---|---|"]
    for vendor in _VENDORS:
        numbers = [counts[vendor, verdict] for verdict in verdicts]
        lines.append(f"| {vendor} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    lines += ["", "| case | | why |", "|---|---|---|"]
    for vendor, case in cases:
        if "plaudit" in case:
            lines.append(f"| {vendor} `{case['name']}` | {verdict(case)} | {case['plaudit']['reason']} |")
    return "\n".join(lines) + "\n"


def written() -> str:
    """What the document says."""
    return DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0]


def write() -> None:
    """Brings the document up to date."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
    DOCUMENT.write_text(before + _BEGIN + render() + _END + rest.partition(_END)[2], encoding="utf-8")


if __name__ == "__main__":
    write()
