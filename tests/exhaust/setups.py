"""What is explored: how many processes and faults, on which kind of store and against which kind of server."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["ACCESS", "EXPIRES_IN", "GRACE", "HTTP_TIMEOUT", "OUTAGE", "REFRESH", "Server", "Setup", "Store"]

HTTP_TIMEOUT = 10.0
EXPIRES_IN = 3600.0
GRACE = 30.0
OUTAGE = 35.0
"""Seconds that a long outage of the store lasts: longer than any attempt's time to live here."""
ACCESS, REFRESH = "access ", "refresh "


class Server(enum.Enum):
    """What a second use of a refresh token does."""

    REJECT = "reject-only"
    REVOKE = "revoke-family"
    GRACE = "grace window"


class Store(enum.Enum):
    """What a store offers beside load and compare-and-swap."""

    FLOCK = "one host: clock, flock"
    CLOCK = "server: clock"
    BARE = "neither clock nor lock"


@dataclass(frozen=True, slots=True)
class Setup:
    """One exploration. `knows`: every process has seen the first token. `refused`: the API refuses it, and it has not
    expired. `asks`: how often the callers of each process ask, one time after the other."""

    server: Server
    store: Store
    processes: int = 2
    faults: int = 1
    knows: bool = True
    refused: bool = False
    asks: int = 2
    blind: bool = False

    @property
    def profile(self) -> str:
        return f"grace:{GRACE:.0f}" if self.server is Server.GRACE else "strict"

    @property
    def has_lock(self) -> bool:
        return self.store is Store.FLOCK

    @property
    def has_clock(self) -> bool:
        return self.store is not Store.BARE

    def host_of(self, process: int) -> int:
        """The processes of a server's store run on a host each, and those who ask at the end there, too."""
        return 0 if self.has_lock else process % self.processes

    def __str__(self) -> str:
        begins = ("refused" if self.refused else "expired") + ("" if self.knows else ", and nobody knows it")
        return (
            f"{self.processes} processes, {self.faults} faults, {self.server.value}, {self.store.value}, "
            f"the token is {begins}"
        )
