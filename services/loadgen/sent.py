"""What sending came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from services.loadgen.histogram import Histogram
from services.loadgen.outcomes import Outcomes


@dataclass(slots=True)
class Sent:
    """Of one process.

    latency counts from the moment a request was meant to be sent, so that waiting for a slow server counts;
    service from the moment it was sent. statuses: answers by HTTP status; 0 stands for lost ones.
    acts: acts of feedback by outcome, repetitions included. faulty: 200s that refused an event inside.
    """

    outcomes: Outcomes
    latency: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    statuses: Counter[int] = field(default_factory=Counter)
    acts: Counter[int] = field(default_factory=Counter)
    reconnects: int = 0
    faulty: int = 0
    seconds: float = 0.0
