"""The token in memory, with the times until which it is fresh and usable."""

from __future__ import annotations

import math
from typing import NamedTuple

from onerefresh.policy import Early, thresholds
from onerefresh.token import Token

__all__ = ["NOTHING", "NOT_YET", "USUAL", "CachedToken", "Nothing", "Timing", "cached_for"]


class CachedToken:
    """The token in memory: fresh until `refresh_at`, usable until `unusable_at` (seconds since the epoch)."""

    __slots__ = ("refresh_at", "token", "unusable_at")

    def __init__(self, token: Token | None, refresh_at: float, unusable_at: float) -> None:
        self.token = token
        self.refresh_at = refresh_at
        self.unusable_at = unusable_at


NOTHING = CachedToken(None, -math.inf, -math.inf)


class Nothing:
    """Stands for the memory of an object that may not use it yet: there is no token."""

    __slots__ = ()
    held = NOTHING


NOT_YET = Nothing()
"""One object for all."""


class Timing(NamedTuple):
    """What decides, beside the token, when it is fresh in a process.

    * `early`: how long before its end it is ageing.
    * `skew`: seconds by which this machine's clock is ahead of the clock by which the token is dated.
    """

    early: Early = None
    skew: float = 0.0


USUAL = Timing()
"""One object for all credentials: one for each would cost memory."""


def cached_for(token: Token, jitter: float, timing: Timing = USUAL) -> CachedToken:
    """The token with its thresholds in this process, by this machine's clock."""
    found = thresholds(token, jitter, timing.early)
    return CachedToken(token, found.refresh_at + timing.skew, found.unusable_at + timing.skew)
