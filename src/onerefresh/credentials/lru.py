"""Objects by key: the most recently used are kept, others for as long as somebody else holds them."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import Generic, TypeVar

from onerefresh.latches import Lock, inside
from onerefresh.store import reset_in_child

__all__ = ["LruWithWeakTail"]

T = TypeVar("T")


class LruWithWeakTail(Generic[T]):
    """Keeps the `most` objects that were used last. For one key there is never more than one object."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._held_elsewhere: weakref.WeakValueDictionary[str, T] = weakref.WeakValueDictionary()
        reset_in_child(self)

    def use(self, key: str) -> T | None:
        """The object of `key`, which is the last one used from now on; None where there is none."""
        if inside():  # a destructor runs within a lock, perhaps this one: it may look, and change nothing
            return self._kept.get(key) or self._held_elsewhere.get(key)
        with self._lock:
            found, evicted = self._kept.get(key), None
            if found is not None:
                self._kept.move_to_end(key)
                return found
            found = self._held_elsewhere.get(key)
            if found is not None:
                evicted = self._keep(key, found)
        del evicted  # no sooner: a destructor may run
        return found

    def peek(self, key: str) -> T | None:
        """As `use`, and it counts as no use."""
        with self._lock:
            return self._kept.get(key) or self._held_elsewhere.get(key)

    def add(self, key: str, made: T) -> T:
        """Keep `made`, unless another thread was faster: what is kept now."""
        with self._lock:
            found = self._kept.get(key) or self._held_elsewhere.get(key) or made
            evicted = self._keep(key, found)
        del evicted  # as above
        return found

    def drop(self, key: str, one: T) -> None:
        """Forget `one`, if it is the object of `key`."""
        with self._lock:  # whoever calls holds it: none is destroyed here
            for place in (self._kept, self._held_elsewhere):
                if place.get(key) is one:
                    del place[key]

    def release(self, key: str) -> None:
        """Keep the object of `key` no longer than somebody else holds it."""
        with self._lock:
            one = self._kept.pop(key, None)  # this frame holds it until the lock is free
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
        del kept  # as above

    def after_fork(self) -> None:
        """Whoever held the lock is not in the child."""
        self._lock = Lock()

    def _keep(self, key: str, one: T) -> T | None:
        """Keep it; gives the one that had to give way, which may be destroyed only when the lock is free."""
        self._held_elsewhere.pop(key, None)
        self._kept[key] = one
        self._kept.move_to_end(key)
        if len(self._kept) <= self._most:
            return None
        other, oldest = self._kept.popitem(last=False)
        self._held_elsewhere[other] = oldest  # it vanishes from there with the last who holds it
        return oldest
