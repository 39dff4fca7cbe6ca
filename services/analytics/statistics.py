"""Satisfaction: a share with its uncertainty."""

from __future__ import annotations

import math
from typing import NamedTuple

_Z = 1.959963984540054
"""The standard normal quantile of 97.5 %: an interval that holds in 95 of 100 cases."""


class Satisfaction(NamedTuple):
    """Share of up in up and down, and its interval; all None where nobody voted."""

    share: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | None]:
        return {"satisfaction": self.share, "satisfaction_low": self.low, "satisfaction_high": self.high}


def satisfaction(up: int, down: int) -> Satisfaction:
    """The share, with the 95 % score interval of Wilson (1927), which holds for few votes and near 0 and 1 too."""
    total = up + down
    if total == 0:
        return Satisfaction(None, None, None)
    share = up / total
    shrink = 1 + _Z * _Z / total
    middle = (share + _Z * _Z / (2 * total)) / shrink
    half = _Z / shrink * math.sqrt(share * (1 - share) / total + _Z * _Z / (4 * total * total))
    # At the ends of the scale rounding must not push the bound past the share.
    return Satisfaction(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))
