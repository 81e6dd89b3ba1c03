"""Which servers have answered for one store, and since when one process has known each of them."""

from __future__ import annotations

import math

from onerefresh.renewal.clocks import Instant

__all__ = ["Servers"]


class Servers:
    """The servers that have answered for one store, and since when this process has known each of them.

    The epoch of a store's clock identifies the server. A server that replaced another one, or was restarted, may lack
    the last writes; so may one that returns after another server had its place. Nothing is known of the first server:
    it may be as old as the store, unless a record says that another one had it. Several servers may answer at the same
    time, each for some of the records.
    """

    __slots__ = ("_first_sight", "_of_the_note", "_replaced", "_since")

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._first_sight: dict[str, float] = {}
        self._of_the_note: str | None = None
        self._replaced: dict[str, None] = {}  # servers that had the note of losses before another one had it

    def sees(self, now: Instant, *, has_the_note: bool = False) -> str | None:
        """The server that answers now; None where the store has no clock, or lives on one machine alone.

        On one machine a change of server makes no difference. `has_the_note`: this server has the store's one note of
        losses.
        """
        if now.shared is None or now.shared.single_host:
            return None
        server = now.shared.clock_epoch
        if server in self._replaced:
            self._since[server] = now.monotonic  # before it is taken out: no other thread may trust it in between
            self._replaced.pop(server, None)
        self._first_sight.setdefault(server, now.monotonic)
        self._since.setdefault(server, now.monotonic if self._since else -math.inf)
        if has_the_note and server != self._of_the_note:
            if self._of_the_note is not None:
                self._replaced[self._of_the_note] = None
            self._of_the_note = server
        return server

    @property
    def first(self) -> str | None:
        """The first server that this process has seen; None where it has seen none."""
        seen = list(self._since)  # a copy, which no other thread extends; `sees` adds to it last
        return seen[0] if seen else None

    def since(self, server: str) -> float:
        """Since when this process has known the server, on its monotonic clock; minus infinity for the first one."""
        return self._since[server]

    def first_sight(self, server: str) -> float:
        """When this process first saw the server, on its monotonic clock."""
        return self._first_sight[server]
