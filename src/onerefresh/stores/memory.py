"""The memory store: one process, nothing on disk. What it holds is gone with the process."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator

from onerefresh.errors import StoreUnavailable
from onerefresh.store import Conflict, Moment, Store, Versioned, cleaned_after_fork

__all__ = ["MemoryStore"]


class MemoryStore(Store):
    """Records in a dict. A forked child goes on with a copy of its own."""

    name = "memory"
    durable = False
    forgets = "this one lives in memory only: name a store, or save="

    def __init__(self) -> None:
        self._records: dict[str, Versioned] = {}
        self._writes = 0
        self._changed = threading.Condition()
        self._era = secrets.token_hex(8)
        cleaned_after_fork(self)

    def load(self, key: str) -> Versioned | None:
        return self._records.get(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        with self._changed:
            present = self._records.get(key)
            if (present.version if present else None) != expected:
                raise Conflict(key)
            self._writes += 1
            self._records[key] = Versioned(str(self._writes), body)
            self._changed.notify_all()
            return str(self._writes)

    def wait(self, key: str, version: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with self._changed:
            while (left := deadline - time.monotonic()) > 0:
                present = self._records.get(key)
                if present is None or present.version != version:
                    return
                self._changed.wait(left)

    def moment(self) -> Moment:
        return Moment(self._era, time.monotonic(), mortal=True)

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        with self._changed:
            records = list(self._records.items())
        yield from records

    def after_fork(self) -> None:
        """New locks for a forked child: whoever held the old ones is not there."""
        self._changed = threading.Condition()
        self._era = secrets.token_hex(8)
