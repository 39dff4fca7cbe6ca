"""What every vendor's face needs to take a request in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from shared.envelope import RawEvent
from shared.errors import StoreUnavailableError
from shared.events import Source
from shared.keyring import Keyring
from shared.keys import Key
from shared.settings import IngestSettings
from shared.telemetry import IngestMetrics

from .body import BodyReader
from .learning import Learner
from .minting import Minter, envelopes
from .publisher import Appender
from .rate import RateLimiter
from .replies import UNAVAILABLE, RefusedError

log = structlog.get_logger()

_SHORTEST_SECRET = 16
"""Keys shorter than this are no secrets, and blanking them could blank the words of the event itself."""


@dataclass(slots=True)
class Tally:
    """Counts of the hot path, as plain integers; folded into the metrics when those are read."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    events: Counter[tuple[str, str]] = field(default_factory=Counter)

    def fold(self, metrics: IngestMetrics) -> None:
        requests, self.requests = self.requests, Counter()
        events, self.events = self.events, Counter()
        for (source, status), count in requests.items():
            metrics.requests.labels(source, str(status)).inc(count)
        for (source, outcome), count in events.items():
            metrics.events.labels(source, outcome).inc(count)


class Admissions:
    """Who was let in under the present keys, by what was presented: most requests present what the one before did.
    Forgotten with every reload of the keys, so that a revoked key stops as soon as it would without.
    """

    MOST = 10_000

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._as_of: object = None
        self._known: dict[tuple[object, ...], Any] = {}

    def find(self, presented: tuple[object, ...]) -> Any:
        """What was made of it before; None if that is not known."""
        if self._as_of is not self._keyring.snapshot:
            self._forget()
        return self._known.get(presented)

    def add(self, presented: tuple[object, ...], admitted: object) -> None:
        """Only what the present keys allow: nothing may be awaited between asking them and this."""
        if self._as_of is not self._keyring.snapshot or len(self._known) >= self.MOST:
            self._forget()
        self._known[presented] = admitted

    def _forget(self) -> None:
        self._as_of = self._keyring.snapshot
        self._known.clear()


class Door:
    """Keys, limits and the way into the log, put together once."""

    def __init__(
        self,
        settings: IngestSettings,
        keyring: Keyring,
        bodies: BodyReader,
        rate: RateLimiter,
        minter: Minter,
        appender: Appender,
        *,
        retry_after: Callable[[], int],
        learner: Learner | None = None,
    ) -> None:
        self.settings = settings
        self.bodies = bodies
        self.rate = rate
        self.learner = learner
        self.tally = Tally()
        self.admissions = Admissions(keyring)
        self._keyring = keyring
        self._minter = minter
        self._appender = appender
        self._retry_after = retry_after

    async def key(self, token: str) -> Key | None:
        """The key of a token; None if there is none.

        Raises RefusedError while that cannot be known: an unknown key may be a new one.
        """
        if found := self._keyring.find(token):
            return found
        try:
            return await self._keyring.look_up(token)
        except StoreUnavailableError as error:
            raise self.unavailable("Authentication service error") from error

    def known_key(self, token: str) -> Key | None:
        """The key of a token as far as this process knows, for tokens that no permission hangs on."""
        return self._keyring.find(token)

    async def take(self, source: Source, events: Sequence[tuple[str, RawEvent]]) -> None:
        """Puts events of one request, each with its project, into the log; returns when they are there.

        Raises RefusedError when they are not.
        """
        made = envelopes(self._minter(), source, events, self.settings.ingest_part_bytes)
        try:
            await self._appender.append(made)
        except StoreUnavailableError as error:
            raise self.unavailable("The event could not be stored. Try again.") from error

    def unavailable(self, message: str) -> RefusedError:
        return RefusedError(UNAVAILABLE, message, retry_after=self._retry_after())


def blanked(raw: bytes, token: str, blank: bytes | None = None) -> bytes:
    """``raw`` without the secret ``token``, whatever its case: in its place ``blank``, or as many asterisks."""
    secret = token.encode("utf-8", "surrogateescape").lower()
    if len(secret) < _SHORTEST_SECRET:
        return raw
    lowered = raw.lower()
    position = lowered.find(secret)
    while position >= 0:
        end = position + len(secret)
        raw = raw[:position] + (blank or b"*" * len(secret)) + raw[end:]
        position = lowered.find(secret, end)
    return raw
