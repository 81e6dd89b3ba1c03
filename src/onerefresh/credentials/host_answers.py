"""Which hosts of token endpoints answer, as one run over many credentials finds out."""

from __future__ import annotations

import math

__all__ = ["HostAnswers"]

PROBES = 4
"""Renewals that a host is asked for before it has answered one: the first alone, the others once that takes long."""
STRIKES = 3
"""Renewals that get no answer from a host, with none that gets one, until the run leaves the host alone."""


class HostAnswers:
    """Counts the answers of each host, so that one that does not answer takes neither slots nor time from others.

    Until a host has answered one renewal, it gets one at a time, or a few where the first takes long. A refresher that
    states no host may ask any number of them, so nothing is concluded about it.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}
        self._answered: set[str] = set()
        self._strikes: dict[str, int] = {}
        self._slow: set[str] = set()

    def may_begin(self, host: str | None) -> bool:
        """Whether one more renewal may begin there now."""
        return self.room(host) > 0

    def room(self, host: str | None) -> float:
        """How many more renewals may begin there now."""
        if host is None or host in self._answered:
            return math.inf
        most = PROBES - self._strikes.get(host, 0)
        return (most if host in self._slow else min(most, 1)) - self._under_way.get(host, 0)

    def is_silent(self, host: str | None) -> bool:
        """Whether the host is to be left alone."""
        return host is not None and host not in self._answered and self._strikes.get(host, 0) >= STRIKES

    def begins(self, host: str | None) -> bool:
        """Note that a renewal begins there; whether it is the first one."""
        if host is None:
            return False
        is_first = host not in self._under_way
        self._under_way[host] = self._under_way.get(host, 0) + 1
        return is_first

    def takes_long(self, host: str) -> None:
        """Note that the first renewal there has not ended soon."""
        self._slow.add(host)

    def ends(self, host: str | None, *, answered: bool | None) -> None:
        """Note that a renewal there has ended. `answered`: None where nothing can be said of the host."""
        if host is None:
            return
        self._under_way[host] -= 1
        if answered:
            self._answered.add(host)
        elif answered is False:
            self._strikes[host] = self._strikes.get(host, 0) + 1
