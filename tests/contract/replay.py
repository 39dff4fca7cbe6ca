"""Cases of the vendors' contracts: one JSON object a line, with macros for what is too long to write out."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CASES = Path(__file__).parent / "cases"
_REPEAT = re.compile(r"@@REPEAT:(.*?):(\d+)@@", re.DOTALL)
_KEYS = re.compile(r'"@@KEYS:(\w+):(\d+)@@"')
_GZIP = re.compile(r"@@GZIP:(.*)@@", re.DOTALL)
_MEBIBYTE_20 = 20_971_520


def load(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines()]


def body_of(case: dict[str, Any]) -> bytes | None:
    body = case.get("body")
    if body is None:
        return None
    if isinstance(body, str) and body.startswith("@generate"):
        return _generated(case["name"])
    text = body if isinstance(body, str) else json.dumps(body)
    if packed := _GZIP.fullmatch(text):
        return gzip.compress(packed[1].encode())
    text = _REPEAT.sub(lambda found: found[1] * int(found[2]), text)
    text = _KEYS.sub(lambda found: json.dumps({f"{found[1]}{index}": index for index in range(int(found[2]))}), text)
    return text.replace("@@NOW_NANO@@", str(time.time_ns())).encode("utf-8", "surrogatepass")


def _event(number: int, **more: Any) -> dict[str, Any]:
    run_id = f"0abc0000-0000-0000-0000-{number:012x}"
    return {"event": "feedback", "type": None, "runId": run_id, "timestamp": 1, "feedback": {"thumb": "up"}, **more}


def _generated(name: str) -> bytes:
    match name:
        case "gen_body_exactly_20MiB" | "gen_body_20MiB_plus_1":
            size = _MEBIBYTE_20 + name.endswith("plus_1")
            frame = json.dumps({"events": [_event(1)], "pad": ""}).encode()
            return frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]
        case "gen_gzip_ok":
            return gzip.compress(json.dumps({"events": [_event(2)]}).encode())
        case "gen_batch_1000":
            return json.dumps({"events": [_event(number) for number in range(1000, 2000)]}).encode()
        case _:
            raise AssertionError(f"nobody knows how to generate {name}")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def send(url: str, case: dict[str, Any]) -> Answer:
    """With http.client, which sends headers as they are, empty ones too."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(case["method"], case["path"], body=body_of(case), headers=case["headers"])
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, headers, answer.read())
    finally:
        connection.close()


ANYTHING = object()
"""Where a case does not say what the body is."""


def wanted(case: dict[str, Any]) -> tuple[int, Any]:
    """Status and body that Plaudit gives: the vendor's, unless the case says why not."""
    ours = case.get("plaudit", {})
    status = ours.get("status", case["expect_status"])
    body = ours.get("body", ANYTHING) if "status" in ours else case.get("expect_body", ANYTHING)
    return status, body
