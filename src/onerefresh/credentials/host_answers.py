"""Which hosts of token endpoints answer, as one run over many credentials finds out."""

from __future__ import annotations

import math

__all__ = ["HostAnswers"]

PROBES = 4
"""Renewals that a host is asked for before it has answered one."""
STRIKES = 3
"""Renewals that get no answer from a host, with none that gets one, until the run leaves the host alone."""


class HostAnswers:
    """Counts the answers of each host, so that one that does not answer takes neither slots nor time from others.

    A host gets only a few renewals at a time until it has answered one of them. A refresher that states no host may
    ask any number of them, so nothing is concluded about it.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}
        self._answered: set[str] = set()
        self._strikes: dict[str, int] = {}

    def may_begin(self, host: str | None) -> bool:
        """Whether one more renewal may begin there now."""
        return self.room(host) > 0

    def room(self, host: str | None) -> float:
        """How many more renewals may begin there now."""
        if host is None or host in self._answered:
            return math.inf
        return PROBES - self._under_way.get(host, 0) - self._strikes.get(host, 0)

    def is_silent(self, host: str | None) -> bool:
        """Whether the host is to be left alone."""
        return host is not None and host not in self._answered and self._strikes.get(host, 0) >= STRIKES

    def begins(self, host: str | None) -> None:
        """Note that a renewal begins there."""
        if host is not None:
            self._under_way[host] = self._under_way.get(host, 0) + 1

    def ends(self, host: str | None, *, answered: bool | None) -> None:
        """Note that a renewal there has ended. `answered`: None where nothing can be said of the host."""
        if host is None:
            return
        self._under_way[host] -= 1
        if answered:
            self._answered.add(host)
        elif answered is False:
            self._strikes[host] = self._strikes.get(host, 0) + 1
