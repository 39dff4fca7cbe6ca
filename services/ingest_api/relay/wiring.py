"""The relay's parts put together, one set a vendor, as the settings say."""

from __future__ import annotations

import random as random_module
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from pydantic_core import Url

from services.ingest_api.langwatch import langwatch_error
from services.ingest_api.lunary_access import cors_headers, message_reply
from services.ingest_api.replies import Reply, Scope
from shared.events import Source
from shared.settings import RelaySettings
from shared.telemetry import RelayMetrics

from .breaker import Breaker
from .capture import CutFeedback, Face, RelayedFace
from .proxy import Proxy, ProxyLimits, Refuse
from .sender import Sender, SendLimits
from .upstream import Upstream, upstream

_FIRST_PAUSE = 1.0


class Relay(NamedTuple):
    """One vendor's: where its requests go on, and where its own routes are served from."""

    sender: Sender
    proxy: Proxy
    forwarded_for: bool
    keeps_feedback: bool

    def around(self, face: Face, cut: CutFeedback) -> Face:
        """``face``, whose requests go on when they were answered with success; through ``cut``, where feedback is
        kept back.
        """
        cut_or_none = cut if self.keeps_feedback else None
        return RelayedFace(face, self.sender, cut_or_none, forwarded_for=self.forwarded_for)

    @property
    def duties(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.sender.run, self.proxy.run]


Relays = Mapping[Source, Relay]
"""Those vendors that have an upstream; a vendor that is not in it has neither relay nor proxy."""


def build_relays(
    settings: RelaySettings,
    metrics: RelayMetrics,
    *,
    clock: Callable[[], float],
    random: random_module.Random,
) -> Relays:
    """``clock``: monotonic seconds. Connects nothing yet."""
    vendors: list[tuple[Source, Url | None, Refuse]] = [
        (Source.LANGWATCH, settings.langwatch_upstream, _langwatch_refusal),
        (Source.LUNARY, settings.lunary_upstream, _lunary_refusal),
    ]
    return {
        source: _relay(source, upstream(url, settings.relay_ca_file), refuse, settings, metrics, clock, random)
        for source, url, refuse in vendors
        if url is not None
    }


def _relay(
    source: Source,
    to: Upstream,
    refuse: Refuse,
    settings: RelaySettings,
    metrics: RelayMetrics,
    clock: Callable[[], float],
    random: random_module.Random,
) -> Relay:
    sending = SendLimits(
        lanes=settings.relay_connections,
        tries=settings.relay_tries,
        timeout=settings.relay_timeout,
        connect_timeout=settings.relay_connect_timeout,
        idle=settings.relay_idle,
        retry_base=settings.relay_retry_base,
        retry_cap=settings.relay_retry_cap,
        drain=settings.relay_drain,
    )
    breaker = Breaker(
        settings.relay_breaker_failures,
        min(_FIRST_PAUSE, settings.relay_breaker_cap),
        settings.relay_breaker_cap,
        clock=clock,
        random=random,
    )
    sender = Sender(
        source,
        to,
        sending,
        breaker,
        metrics,
        queue_bytes=settings.relay_queue_bytes,
        queue_age=settings.relay_queue_age,
        clock=clock,
        random=random,
    )
    limits = ProxyLimits(
        connections=settings.proxy_connections,
        body=settings.proxy_body_limit,
        connect_timeout=settings.relay_connect_timeout,
        timeout=settings.proxy_timeout,
    )
    proxy = Proxy(source, to, limits, metrics, refuse, forwarded_for=settings.relay_forwarded_for)
    return Relay(sender, proxy, settings.relay_forwarded_for, not settings.relay_feedback)


def _lunary_refusal(scope: Scope, status: int, message: str) -> Reply:
    return message_reply(status, message, cors_headers(dict(scope["headers"])))


def _langwatch_refusal(_scope: Scope, status: int, message: str) -> Reply:
    return langwatch_error(status, message)
