"""Requests built before the clock starts, so that sending one costs a slice and a write."""

from __future__ import annotations

import mmap
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.loadgen.options import Target
from services.loadgen.plan import Plan
from services.loadgen.reading import LANGWATCH
from services.loadgen.workload import Step, lane_steps

_REPORT_EVERY = 500


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """Complete HTTP requests of some lanes, in a file that the system may page out.

    lanes: their numbers in the plan. first: where each lane's requests begin, and one more for the end of the last.
    acts, copies, checksums (CRC-32 of the body): of each request.
    """

    lanes: Sequence[int]
    first: Sequence[int]
    ends: array[int]
    acts: array[int]
    copies: bytearray
    checksums: array[int]
    data: mmap.mmap | bytes

    @property
    def count(self) -> int:
        return len(self.ends)

    def request(self, number: int) -> bytes:
        return self.data[self.ends[number - 1] if number else 0 : self.ends[number]]


def build(plan: Plan, lanes: Sequence[int], target: Target, built: Callable[[int], None]) -> Prebuilt:
    """``built`` is told, now and then, how many acts were written since it was last told."""
    heads = _Heads(target)
    first, ends, acts, copies, checksums = [0], array("Q"), array("L"), bytearray(), array("L")
    end = unreported = 0
    with tempfile.TemporaryFile(prefix="plaudit-loadgen-") as file:
        for lane in lanes:
            for step in lane_steps(plan, lane):
                end += file.write(heads.head(step, len(ends)) + step.body)
                ends.append(end)
                acts.append(step.acts)
                copies.append(step.copies)
                checksums.append(zlib.crc32(step.body))
                unreported += 0 if step.repeats else step.acts
                if unreported >= _REPORT_EVERY:
                    built(unreported)
                    unreported = 0
            first.append(len(ends))
        built(unreported)
        file.flush()
        # The mapping keeps the deleted file alive; its pages are the system's to evict, unlike a million objects.
        data = mmap.mmap(file.fileno(), end, access=mmap.ACCESS_READ) if end else b""
    return Prebuilt(lanes, first, ends, acts, copies, checksums, data)


class _Heads:
    """Request heads in the manners of different clients."""

    def __init__(self, target: Target) -> None:
        host, port = target.address
        tail = f"Host: {host}:{port}\r\nContent-Type: application/json\r\n"
        bearer = f"Authorization: Bearer {target.langwatch_key}\r\n"
        token = f"X-Auth-Token: {target.langwatch_key}\r\n"
        httpx = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: python-httpx/0.28.1\r\n"
        golang = "Accept-Encoding: gzip\r\nUser-Agent: Go-http-client/1.1\r\n"
        self._langwatch = [
            f"POST /api/track_event HTTP/1.1\r\n{token}{tail}",
            f"POST /api/track_event HTTP/1.1\r\n{httpx}{bearer}{token}{tail}",
            f"POST /api/events/track HTTP/1.1\r\n{golang}{bearer}{tail}",
        ]
        bearer = f"Authorization: Bearer {target.lunary_key}\r\n"
        node = "Accept: */*\r\nAccept-Language: *\r\nSec-Fetch-Mode: cors\r\nUser-Agent: node\r\n"
        python = "Accept: */*\r\nUser-Agent: python-requests/2.34.2\r\n"
        self._lunary = [
            f"POST /v1/runs/ingest HTTP/1.1\r\n{node}{bearer}{tail}",
            f"POST /v1/runs/ingest HTTP/1.1\r\n{python}{bearer}{tail}",
        ]

    def head(self, step: Step, number: int) -> bytes:
        variants = self._langwatch if step.source == LANGWATCH else self._lunary
        return f"{variants[number % len(variants)]}Content-Length: {len(step.body)}\r\n\r\n".encode()


def deal_lanes(plan: Plan, processes: int) -> Iterator[Sequence[int]]:
    """The lanes of each of several processes."""
    for process in range(processes):
        yield range(process, plan.lanes, processes)
