"""Objects by key: the most recently used ones are kept, and others for as long as other code holds them."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Generic, TypeVar

from onerefresh.locks import Lock, inside
from onerefresh.store import reset_in_child

__all__ = ["LruWithWeakTail"]

T = TypeVar("T")


class LruWithWeakTail(Generic[T]):
    """Keeps the `most` objects that were used last. There is never more than one object for a key.

    `_lock` guards both maps. `use` reads them without it where this thread holds a lock already.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._held_elsewhere: weakref.WeakValueDictionary[str, T] = weakref.WeakValueDictionary()
        reset_in_child(self)

    def use(self, key: str) -> T | None:
        """The object of `key`, which counts as the last one used from now on; None where there is none."""
        if inside():  # a destructor runs under a lock, perhaps this one: it may read, but not change
            return self._kept.get(key) or self._held_elsewhere.get(key)
        with self._lock:
            found, evicted = self._kept.get(key), None
            if found is not None:
                self._kept.move_to_end(key)
                return found
            found = self._held_elsewhere.get(key)
            if found is not None:
                evicted = self._keep(key, found)
        del evicted  # not under the lock: a destructor may run
        return found

    def peek(self, key: str) -> T | None:
        """As `use`, but without counting as a use."""
        with self._lock:
            return self._kept.get(key) or self._held_elsewhere.get(key)

    def add(self, key: str, made: T) -> T:
        """Keep `made`, unless another thread was faster; return the object that is kept now."""
        with self._lock:
            found = self._kept.get(key) or self._held_elsewhere.get(key) or made
            evicted = self._keep(key, found)
        del evicted  # not under the lock, as in `use`
        return found

    def drop(self, key: str, one: T) -> None:
        """Forget `one`, if it is the object of `key`."""
        with self._lock:  # the caller holds `one`, so nothing is destroyed here
            for place in (self._kept, self._held_elsewhere):
                if place.get(key) is one:
                    del place[key]

    def release(self, key: str) -> None:
        """Keep the object of `key` no longer than other code holds it."""
        with self._lock:
            one = self._kept.pop(key, None)  # this frame holds the object until the lock is free
            if one is not None:
                self._held_elsewhere[key] = one

    def all(self) -> list[T]:
        """Every object that is kept, or held elsewhere."""
        with self._lock:
            return [*self._kept.values(), *self._held_elsewhere.values()]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            kept, self._kept = self._kept, OrderedDict()
            self._held_elsewhere.clear()
        del kept  # not under the lock, as in `use`

    def after_fork(self) -> None:
        """Make a new lock in a forked child, where the thread that held the old one is missing."""
        self._lock = Lock()

    def _keep(self, key: str, one: T) -> T | None:
        """Keep the object; return the one that it displaced, which may be destroyed only when the lock is free."""
        self._held_elsewhere.pop(key, None)
        self._kept[key] = one
        self._kept.move_to_end(key)
        if len(self._kept) <= self._most:
            return None
        other, oldest = self._kept.popitem(last=False)
        self._held_elsewhere[other] = oldest  # it is removed from there with its last reference
        return oldest
