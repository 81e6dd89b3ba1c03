"""Stores that were opened by their URLs: all users of one place share one store, which closes with the last of them."""

from __future__ import annotations

import weakref

from onerefresh.credential.background import background_tasks
from onerefresh.credential.watch import watch
from onerefresh.errors import ConfigurationError
from onerefresh.secret import Secret
from onerefresh.store import Store, is_shared
from onerefresh.stores import open_store

__all__ = ["hidden", "open_both", "opened", "opened_here"]

Place = str | Secret | Store | None


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


def hidden(place: Place) -> Secret | Store | None:
    """The place with its URL hidden, which may hold a password."""
    return Secret(place) if isinstance(place, str) else place


def open_both(place: Place, before: Place) -> tuple[Store, Store | None]:
    """The store at `place`, and the one at `before`, from which credentials are moved; None where there is none.

    Raises `ConfigurationError`, also where both are one place.
    """
    store = open_store(place)
    if before is None:
        return store, None
    source = open_store(before)
    if source is store or (is_shared(store) and source.name == store.name != Store.name):
        raise ConfigurationError(f"moved_from= names the store itself, {store.name}: leave it out")
    return store, source


def opened_here(stores: tuple[Store, Store | None], places: tuple[Place, Place]) -> tuple[Store, ...]:
    """Those of the stores that were opened by their URLs, or for a configuration file: their users close them."""
    pairs = zip(stores, places, strict=True)
    return tuple(store for store, place in pairs if store is not None and _is_ours(store, place))


def _is_ours(store: Store, place: Place) -> bool:
    return not isinstance(place, Store) or getattr(store, "closes_with_its_users", False) is True
