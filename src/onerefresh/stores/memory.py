"""The memory store: for one process, with nothing on disk. Its records end with the process."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from onerefresh.errors import StoreUnavailable
from onerefresh.locks import Lock
from onerefresh.pause import Wakeup
from onerefresh.real_time import monotonic
from onerefresh.store import Conflict, StoreOfOurs, StoreTime, Versioned, reset_in_child
from onerefresh.stores.subscriber import CHANGED, Subscriber

__all__ = ["MemoryStore"]


class MemoryStore(StoreOfOurs):
    """Records in a dict. A forked child goes on with a copy of its own.

    `_lock` guards writes, scans and who waits; `load` takes no lock.
    """

    name = "memory"
    durable = False
    forgets = "this store is in memory only: use another store, or save="

    def __init__(self) -> None:
        self._records: dict[str, Versioned] = {}
        self._writes = 0
        self._lock = Lock(order=1)  # a credential that stores its seed holds its own lock meanwhile
        self._waiting: dict[str, dict[Subscriber, None]] = {}  # by key
        self._era = secrets.token_hex(8)
        reset_in_child(self)

    def load(self, key: str) -> Versioned | None:
        return self._records.get(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        with self._lock:
            present = self._records.get(key)
            if (present.version if present else None) != expected:
                raise Conflict(key)
            self._writes += 1
            version = str(self._writes)
            self._records[key] = Versioned(version, body)
            waiting = self._waiting.pop(key, {})
        for subscriber in list(waiting):
            subscriber.ring()
        return version

    def remove(self, key: str, expected: str) -> None:
        with self._lock:
            present = self._records.get(key)
            if present is None or present.version != expected:
                raise Conflict(key)
            del self._records[key]
            waiting = self._waiting.pop(key, {})
        for subscriber in list(waiting):
            subscriber.ring()

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup:
        with self._lock:
            present = self._records.get(key)
            if (present.version if present else "") != version:
                return CHANGED
            waiting = self._waiting.setdefault(key, {})
            subscriber = Subscriber(wake, waiting)
            waiting[subscriber] = None
            return Wakeup(subscriber.end)

    def moment(self) -> StoreTime:
        return StoreTime(self._era, monotonic(), single_host=True)

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        with self._lock:
            records = list(self._records.items())
        yield from records

    def after_fork(self) -> None:
        """Make new locks in a forked child, where the threads that held the old ones are missing."""
        self._lock, self._waiting = Lock(order=1), {}
        self._era = secrets.token_hex(8)
