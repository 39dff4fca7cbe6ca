"""How long to wait before a crashed child is started again."""

import random
from dataclasses import dataclass, field
from typing import Final

_BASE_SECONDS: Final = 0.25
_CAP_SECONDS: Final = 15.0
_HEALTHY_SECONDS: Final = 30.0


@dataclass(slots=True)
class Backoff:
    """Exponential, with equal jitter: half of the delay is fixed, so that a child that dies at once never spins.

    Attributes:
        jitter: Source of randomness.
        failures: Crashes in a row.

    """

    jitter: random.Random = field(default_factory=random.SystemRandom)
    failures: int = 0

    def after(self, lived: float) -> float:
        """Seconds to wait after a child that lived so many seconds; a long life starts the count anew."""
        self.failures = 1 if lived >= _HEALTHY_SECONDS else self.failures + 1
        # 2.0 ** 10 is far beyond the cap; a larger power of a long outage would overflow.
        full = min(_CAP_SECONDS, _BASE_SECONDS * 2.0 ** min(self.failures - 1, 10))
        return full / 2 + self.jitter.uniform(0, full / 2)
