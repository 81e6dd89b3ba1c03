"""How many renewals read from one store at the same time.

A store that hangs would otherwise take the threads of renewals on all other stores. Writes have no limit: a new token
must not wait.
"""

from __future__ import annotations

from onerefresh.host_limiter import HostLimiter, Slot
from onerefresh.pause import Pause
from onerefresh.store import Store

__all__ = ["AT_ONCE", "StoreReads", "store_reads"]

AT_ONCE = 16
"""Renewals at most that read from one store, beside those that take much longer than usual (see `HostLimiter`)."""
LOOK_AGAIN = 30.0
"""Seconds between two looks at whether it is this renewal's turn: an interrupt may have cost it that turn."""


class StoreReads:
    """The turns at each store."""

    def __init__(self, limit: int = AT_ONCE) -> None:
        self._turns = HostLimiter(limit)

    def queue(self, store: Store, key: str) -> Slot:
        """A turn to read `key` in `store`, which has come or will come: see `its_turn`."""
        return self._turns.queue(_place(store), tenant=key)

    async def its_turn(self, slot: Slot, store: Store) -> None:
        """Wait until the turn has come."""
        while not slot.is_granted:
            await Pause(LOOK_AGAIN, begin=slot.wakes)
            self._turns.look(_place(store))


def _place(store: Store) -> str:
    return str(id(store))


store_reads = StoreReads()
