"""Reading the credentials of a store together with those that are still to be moved to it from another one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from onerefresh.errors import StoreUnavailable
from onerefresh.record import MOVED
from onerefresh.record_text import decode
from onerefresh.store import Store, Unreadable, Versioned

__all__ = ["BothStores"]

Found = Versioned | StoreUnavailable


class BothStores(Store):
    """What `store` has, and what only `before` has yet. It is only read: whoever uses a credential moves it."""

    def __init__(self, store: Store, before: Store) -> None:
        self._store, self._before = store, before
        self.name = store.name

    def load(self, key: str) -> Versioned | None:
        found = self._store.load(key)
        if found is None or _has_left(key, found):
            before = self._before.load(key)
            if before is not None and not _has_left(key, before):
                return before
        return found

    def cas(self, key: str, expected: str | None, body: str) -> str:
        raise NotImplementedError  # it is only read

    def scan(self) -> Iterator[tuple[str, Found]]:
        for key, found in self._store.scan():
            yield key, self._latest(key, found) if isinstance(found, Versioned) and _has_left(key, found) else found
        for key, found in self._before.scan():
            if isinstance(found, Versioned) and _has_left(key, found):
                continue
            if not self._has(key):
                yield key, found

    def _has(self, key: str) -> bool:
        try:
            return self._store.load(key) is not None
        except Unreadable:  # it is there, and the scan of its own store has told of it
            return True

    def _latest(self, key: str, found: Found) -> Found:
        with contextlib.suppress(Exception):  # the other store may be a user's, and raise anything
            return self.load(key) or found
        return found


def _has_left(key: str, found: Versioned) -> bool:
    """Whether the record says that it was moved to another store."""
    if f'"{MOVED}' not in found.body:
        return False
    try:
        return decode(found.body, key).moved_to is not None
    except StoreUnavailable:
        return False
