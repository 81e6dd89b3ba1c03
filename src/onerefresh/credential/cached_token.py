"""The token in memory, with the times until which it is fresh and usable."""

from __future__ import annotations

import math

from onerefresh.policy import thresholds
from onerefresh.token import Token

__all__ = ["NOTHING", "CachedToken", "cached_for"]


class CachedToken:
    """The token in memory: fresh until `refresh_at`, usable until `unusable_at` (seconds since the epoch)."""

    __slots__ = ("refresh_at", "token", "unusable_at")

    def __init__(self, token: Token | None, refresh_at: float, unusable_at: float) -> None:
        self.token = token
        self.refresh_at = refresh_at
        self.unusable_at = unusable_at


NOTHING = CachedToken(None, -math.inf, -math.inf)


def cached_for(token: Token, jitter: float) -> CachedToken:
    """The token with its thresholds in this process."""
    found = thresholds(token, jitter)
    return CachedToken(token, found.refresh_at, found.unusable_at)
