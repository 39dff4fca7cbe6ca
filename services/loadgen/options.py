"""What a run of the load generator is asked to do, and where it sends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from shared.errors import PlauditError

DEFAULT_MIX = "langwatch=0.6,lunary=0.4"

DEFAULT_LUNARY_BATCH = "1=0.9,2-21=0.098,229=0.002"
"""Events in one Lunary request: mostly one, a burst up to the 21 at which the JavaScript SDK sends at once, and
now and then what queued up behind a slow answer (229 was captured from that SDK)."""


class OptionsError(PlauditError):
    """The run cannot start as asked. The message says what to change."""


class BatchSize(NamedTuple):
    """Lunary requests of ``low`` to ``high`` events, ``weight`` of all."""

    low: int
    high: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """One run.

    events: acts of feedback in distinct requests; retransmissions come on top.
    rate: events a second, open loop (sending never waits for answers, latency counts from the intended time);
    0 sends as fast as ``connections`` take it. Shares (``duplicates`` of requests, ``undo`` and ``corrections`` of
    acts, ``lunary_other`` of the events in Lunary requests, which are then runs and chats without feedback) are
    from 0 to 1.
    traces: how many traces or runs the acts fall on, some much more often than others.
    verify_timeout: seconds to wait for what was acknowledged to become visible.
    request_timeout: seconds after which an answer counts as lost.
    patience: seconds without any connection after which the run gives up.
    """

    events: int = 10_000
    rate: float = 0.0
    connections: int = 64
    mix: str = DEFAULT_MIX
    lunary_batch: str = DEFAULT_LUNARY_BATCH
    lunary_other: float = 0.2
    duplicates: float = 0.1
    undo: float = 0.1
    corrections: float = 0.05
    traces: int | None = None
    seed: int = 1
    verify: bool = False
    verify_timeout: float = 120.0
    verify_only: Path | None = None
    request_timeout: float = 30.0
    patience: float = 120.0
    ready_file: Path | None = None
    ingest_url: str | None = None
    clickhouse_url: str | None = None
    project: str | None = None
    langwatch_key: str | None = None
    lunary_key: str | None = None
    ledger: Path | None = None
    json: bool = False
    processes: int = 1

    def __post_init__(self) -> None:
        for name in ("events", "connections", "processes"):
            if getattr(self, name) < 1:
                raise OptionsError(f"--{name} must be at least 1")
        for name in ("duplicates", "undo", "corrections", "lunary_other"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionsError(f"--{name.replace('_', '-')} is a share: from 0 to 1")
        if self.lunary_other > 0.99:
            raise OptionsError("--lunary-other must leave some feedback: at most 0.99")
        if self.rate < 0:
            raise OptionsError("--rate is events a second, or 0 for flat out")
        if self.traces is not None and self.traces < 1:
            raise OptionsError("--traces must be at least 1")
        parse_mix(self.mix)
        parse_batch_sizes(self.lunary_batch)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run sends. Holds secrets: never printed whole."""

    ingest_url: str
    project: str
    langwatch_key: str
    lunary_key: str

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the door."""
        parts = urlsplit(self.ingest_url)
        return parts.hostname or "127.0.0.1", parts.port or 80


class _Keys(msgspec.Struct):
    langwatch: str = ""
    lunary_public: str = ""


class _ReadyFile(msgspec.Struct):
    ingest_url: str
    clickhouse_url: str
    project: str
    keys: _Keys


def parse_mix(text: str) -> float:
    """The share of LangWatch acts in ``langwatch=0.6,lunary=0.4``; weights need not add up to one."""
    weights = {"langwatch": 0.0, "lunary": 0.0}
    for part in text.split(","):
        source, equals, weight = part.partition("=")
        if not equals or source.strip() not in weights or not _is_weight(weight):
            raise OptionsError(f"--mix is like {DEFAULT_MIX}, not {text!r}")
        weights[source.strip()] = float(weight)
    total = sum(weights.values())
    if total <= 0:
        raise OptionsError("--mix must give some weight to a source")
    return weights["langwatch"] / total


def parse_batch_sizes(text: str) -> tuple[BatchSize, ...]:
    """``1=0.9,2-21=0.1``: sizes, or ranges of sizes, with their weights."""
    sizes = []
    for part in text.split(","):
        span, equals, weight = part.partition("=")
        low, _, high = span.strip().partition("-")
        high = high or low
        if not (equals and low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high) and _is_weight(weight)):
            raise OptionsError(f"--lunary-batch is like {DEFAULT_LUNARY_BATCH}, not {text!r}")
        sizes.append(BatchSize(int(low), int(high), float(weight)))
    if sum(size.weight for size in sizes) <= 0:
        raise OptionsError("--lunary-batch must give some weight to a size")
    return tuple(sizes)


def find_target(options: LoadOptions) -> Target:
    """Options given one by one go before those in the ready file. Raises OptionsError where something is missing."""
    ready = _read_ready_file(options.ready_file) if options.ready_file else None
    ingest_url = options.ingest_url or (ready.ingest_url if ready else None)
    if ingest_url is None:
        raise OptionsError(
            "Where to? Give --ready-file FILE (the file that `plaudit up --ready-file FILE` writes), "
            "or --ingest-url with --langwatch-key and --lunary-key, and --project with --clickhouse-url to verify."
        )
    if urlsplit(ingest_url).scheme != "http":
        raise OptionsError(f"--ingest-url must be http://host:port, not {ingest_url!r}")
    langwatch_key = options.langwatch_key or (ready.keys.langwatch if ready else "")
    lunary_key = options.lunary_key or (ready.keys.lunary_public if ready else "")
    langwatch_share = parse_mix(options.mix)
    if not langwatch_key and langwatch_share > 0:
        raise OptionsError("no LangWatch key: give --langwatch-key TOKEN, or a --ready-file")
    if not lunary_key and langwatch_share < 1:
        raise OptionsError("no Lunary key: give --lunary-key TOKEN, or a --ready-file")
    project = options.project or (ready.project if ready else None)
    if (options.verify or options.ledger) and project is None:
        raise OptionsError("to verify, the project that the keys belong to must be known: give --project")
    if options.verify:
        find_clickhouse(options)
    return Target(
        ingest_url=ingest_url,
        project=project or "",
        langwatch_key=langwatch_key,
        lunary_key=lunary_key,
    )


def find_clickhouse(options: LoadOptions) -> str:
    """Where to read back what was stored. Raises OptionsError if that was not said."""
    if options.clickhouse_url:
        return options.clickhouse_url
    if options.ready_file is None:
        raise OptionsError("verifying reads ClickHouse: give --clickhouse-url, or a --ready-file")
    return _read_ready_file(options.ready_file).clickhouse_url


def _read_ready_file(path: Path) -> _ReadyFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_ReadyFile)
    except OSError as error:
        raise OptionsError(f"{path} cannot be read ({error.strerror}): is `plaudit up` running?") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise OptionsError(f"{path} is not a ready file: {error}") from error


def _is_weight(text: str) -> bool:
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False
