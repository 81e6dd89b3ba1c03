"""Finds out when a store is down and when it answers again, once for each outage and process.

There is no lock here: each step is one call in C.
"""

from __future__ import annotations

import itertools
import weakref

from onerefresh.real_time import monotonic
from onerefresh.store import Store, reset_in_child

__all__ = ["Outages", "outages"]

LEAST = 2
"""Failures in a row, of any credentials, after which a store counts as down.

A single one may be a connection that was closed, or one row that another program has locked.
"""


class _Outage:
    """Failures of one store. `since`: the first one, on the monotonic clock. `told`: not empty if it counts as down.

    A full disk can be read but not written, so failed `reads` and failed `writes` are counted separately.
    """

    __slots__ = ("cannot_write", "reads", "since", "store", "told", "writes")

    def __init__(self, store: Store, since: float) -> None:
        self.store, self.since = weakref.ref(store), since
        self.reads, self.writes = itertools.count(1), itertools.count(1)
        self.cannot_write = False
        self.told: dict[str, object] = {}


class Outages:
    """The stores of this process that fail just now, by their ids."""

    def __init__(self) -> None:
        self._outages: dict[int, _Outage] = {}
        reset_in_child(self)

    def failed(self, store: Store, now: float | None = None, *, writes: bool = False) -> bool:
        """Note that `store` could not be read, or written; whether it counts as down from now on.

        `now`: seconds on a monotonic clock, instead of the clock itself.
        """
        mine = _Outage(store, monotonic() if now is None else now)
        found = self._outages.setdefault(id(store), mine)
        if found.store() is not store:  # another store, which is gone, had this id
            self._outages[id(store)] = found = mine
        found.cannot_write = found.cannot_write or writes
        is_down = next(found.writes if writes else found.reads) >= LEAST
        return is_down and found.told.setdefault("by", mine) is mine

    def answered(self, store: Store, now: float | None = None, *, writes: bool = False) -> float | None:
        """Note that `store` was read, or written; the seconds for which it was down, or None where it was not.

        One that could not be written is up again once it was written.
        """
        found = self._outages.get(id(store))
        if found is None:
            return None
        if found.cannot_write and not writes:
            found.reads = itertools.count(1)
            return None
        if self._outages.pop(id(store), None) is not found or found.store() is not store or not found.told:
            return None
        return (monotonic() if now is None else now) - found.since

    def after_fork(self) -> None:
        """A child finds out for itself."""
        self._outages = {}


outages = Outages()
