"""Stores that were opened by their URLs: all users of one place share one store, which closes with the last of them."""

from __future__ import annotations

import weakref

from onerefresh.credential.background import background_tasks
from onerefresh.credential.watch import watch
from onerefresh.store import Store

__all__ = ["opened"]


class _Opened:
    """The users of each store. There is no lock here; a user that is gone without having closed does not count."""

    def __init__(self) -> None:
        self._users: dict[int, tuple[weakref.ref[Store], weakref.WeakSet[object]]] = {}  # by the id of the store

    def enter(self, store: Store, user: object) -> None:
        """Note that `user` uses `store`."""
        self._of(store).add(user)
        watch.enter(store)

    def leave(self, store: Store, user: object) -> None:
        """Note that `user` closes. With the last user all work in the store ends, and the store closes."""
        users = self._of(store)
        users.discard(user)
        if len(users):
            return
        background_tasks.leave(store)
        watch.leave(store)
        store.close()
        if len(users):  # another user came just now: a closed store opens again by itself
            watch.enter(store)
        else:
            self._users.pop(id(store), None)

    def _of(self, store: Store) -> weakref.WeakSet[object]:
        known = self._users.get(id(store))
        if known is None or known[0]() is not store:
            known = self._users[id(store)] = weakref.ref(store), weakref.WeakSet()
        return known[1]


opened = _Opened()
