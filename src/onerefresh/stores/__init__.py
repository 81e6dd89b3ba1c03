"""Stores, and opening one by its URL."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

from onerefresh.errors import ConfigurationError
from onerefresh.private_files import state_folder
from onerefresh.store import Store

__all__ = ["open_store"]

_opened: weakref.WeakValueDictionary[str, Store] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def _after_fork() -> None:
    global _opening
    _opening = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_store(store: str | Store | None) -> Store:
    """The store that `store` names.

    ``None`` or ``"memory"``: a new memory store. ``"sqlite"``: ``credentials.db`` in the platform's state folder.
    ``"sqlite:///relative.db"`` and ``"sqlite:////absolute.db"``: that file (``~`` is expanded). A `Store` is returned
    as it is. Opening the same file twice gives the same store, so that its users share one flight.

    Raises `ConfigurationError` for anything else.
    """
    if isinstance(store, Store):
        return store
    if store is None or store == "memory":
        from onerefresh.stores.memory import MemoryStore

        return MemoryStore()
    if not isinstance(store, str):
        if type(store).__module__.partition(".")[0] == "redis" and "asyncio" in type(store).__module__:
            raise ConfigurationError("an asyncio Redis client cannot be a store: hand over a blocking redis.Redis")
        raise ConfigurationError(
            f"a store is a URL such as 'sqlite:///tokens.db' or a onerefresh Store, not {type(store).__name__}"
        )
    return _sqlite(_sqlite_path(store))


def _sqlite_path(url: str) -> Path:
    if url == "sqlite":
        return state_folder() / "credentials.db"
    scheme, separator, rest = url.partition("://")
    if scheme != "sqlite" or not separator:
        raise ConfigurationError(
            f"unknown store {scheme!r}: use 'memory', 'sqlite', 'sqlite:///relative.db' or 'sqlite:////absolute.db'"
        )
    if not rest.startswith("/") or rest in ("/", "//") or rest.endswith("/"):
        raise ConfigurationError(
            "a sqlite URL has three slashes and a relative path, or four and an absolute one: 'sqlite:///tokens.db'"
        )
    if "?" in rest or "#" in rest:
        raise ConfigurationError("a sqlite URL takes no parameters: 'sqlite:///tokens.db'")
    if rest == "/:memory:":
        raise ConfigurationError("for a store in memory write 'memory'")
    return Path(rest[1:])


def _sqlite(path: Path) -> Store:
    from onerefresh.stores.sqlite import SQLiteStore

    fresh = SQLiteStore(path)
    with _opening:  # a weak dictionary's setdefault may be cut in half by another thread
        return _opened.setdefault(fresh.name, fresh)
