"""How many renewals read from one store at the same time.

A store that hangs would otherwise take the threads of renewals on all other stores. Writes have no limit: a new token
must not wait.
"""

from __future__ import annotations

from onerefresh.host_limiter import HostLimiter, Slot
from onerefresh.store import Store

__all__ = ["AT_ONCE", "turn_to_read"]

AT_ONCE = 16
"""Renewals at most that read from one store, beside those that take much longer than usual (see `HostLimiter`)."""

_turns = HostLimiter(AT_ONCE)


def turn_to_read(store: Store, key: str) -> Slot:
    """A turn to read `key` in `store`, which has come or will come: see `Slot.comes`."""
    return _turns.queue(str(id(store)), tenant=key)
