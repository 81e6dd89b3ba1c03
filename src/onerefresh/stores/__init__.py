"""Stores, and opening one by its URL."""

from __future__ import annotations

import os
import re
import weakref
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from onerefresh.errors import ConfigurationError
from onerefresh.locks import Lock
from onerefresh.private_files import check_settings, state_folder
from onerefresh.secret import Secret
from onerefresh.store import Store

__all__ = ["first", "holds_password", "open_store"]

_opened: weakref.WeakValueDictionary[str, Store] = weakref.WeakValueDictionary()
_opening = Lock()
"""Guards `_opened`, the stores by name."""


def _after_fork() -> None:
    global _opening
    _opening = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def open_store(store: str | Secret | Store | None) -> Store:
    """The store that `store` names. A `Store` is returned as it is.

    * ``None`` or ``"memory"``: a new memory store.
    * ``"sqlite"``: ``credentials.db`` in the platform's state folder.
    * ``"sqlite:///relative.db"`` and ``"sqlite:////absolute.db"``: that file (``~`` is expanded). With
      ``?trusted_folders=/data`` these folders are trusted, beside those of ``$ONEREFRESH_TRUSTED_FOLDERS``.
    * ``"redis://host:port/db"`` and the other URLs of `onerefresh.stores.redis.address`: Redis or Valkey.
    * ``"postgresql://user@host/database"``: that PostgreSQL database.

    Opening the same place twice gives the same store, so that its users share one flight. A URL may be a `Secret`,
    since it can hold a password. Raises `ConfigurationError` for anything else.
    """
    if isinstance(store, Store):
        return store
    url = Secret(store) if isinstance(store, str) else store
    del store  # it may hold a password, and would show in a traceback with locals
    if url is None or url == Secret("memory"):
        from onerefresh.stores.memory import MemoryStore

        return MemoryStore()
    if not isinstance(url, Secret):
        raise ConfigurationError(_no_store(url))
    return _by_url(url)


def holds_password(url: str) -> bool:
    """Whether a store's URL holds a password, or may hold one because it cannot be read."""
    try:
        parts = urlsplit(url)
        return bool(parts.password) or any("password" in name for name in parse_qs(parts.query))
    except ValueError:
        return True


def _no_store(thing: object) -> str:
    if type(thing).__module__.partition(".")[0] in ("psycopg", "psycopg_pool"):
        return "a psycopg_pool.ConnectionPool is not a store: pass PostgresStore(pool) from onerefresh.stores.postgres"
    from onerefresh.stores.redis.client import is_client

    if not is_client(thing):
        return f"a store must be a URL such as 'sqlite:///tokens.db' or a onerefresh Store, not {type(thing).__name__}"
    if "asyncio" in type(thing).__module__:
        return "an asyncio Redis client cannot be a store: pass a blocking redis.Redis"
    return "a Redis client is not a store: pass RedisStore(client) from onerefresh.stores.redis"


def _by_url(url: Secret) -> Store:
    check_settings()
    # No part of it is kept in a variable: a text that is no URL may hold a password anywhere.
    if url.reveal().partition("://")[0].partition("+")[0] in ("redis", "rediss", "valkey", "valkeys", "unix"):
        return _redis(url)
    if url.reveal().startswith(("postgresql:", "postgres:", "postgresql+", "postgres+")):
        return _postgres(url)
    path, trusted_folders = _sqlite_path(url)
    return _sqlite(path, trusted_folders)


def _sqlite_path(url: Secret) -> tuple[Path, str]:
    """The file of a SQLite URL, and the folders that it trusts."""
    if url.reveal() == "sqlite":
        return state_folder() / "credentials.db", ""
    scheme, separator, rest = url.reveal().partition("://")
    if scheme != "sqlite" or not separator:
        named = f" {scheme!r}" if re.fullmatch(r"[\w+.-]{0,20}", scheme) else ""
        del scheme, rest  # they may hold a password
        raise ConfigurationError(
            f"unknown store{named}: use 'memory', 'sqlite', 'sqlite:///relative.db', 'sqlite:////absolute.db', "
            "'redis://HOST:PORT/DB' or 'postgresql://USER@HOST/DATABASE'"
        )
    rest, parameters, query = rest.partition("?")
    if not rest.startswith("/") or rest in ("/", "//") or rest.endswith("/"):
        raise ConfigurationError(
            "a sqlite URL must have three slashes before a relative path, or four before an absolute one: "
            "'sqlite:///tokens.db'"
        )
    name, _, value = query.partition("=")
    if set("#&") & set(query) or "#" in rest or (parameters and (name != "trusted_folders" or not value)):
        raise ConfigurationError(
            "a sqlite URL takes one parameter: 'sqlite:////data/tokens.db?trusted_folders=/data'; without it, "
            "write 'sqlite:///tokens.db'"
        )
    if rest == "/:memory:":
        raise ConfigurationError("for a store in memory write 'memory'")
    return Path(rest[1:]), unquote(value)


def _sqlite(path: Path, trusted_folders: str) -> Store:
    from onerefresh.stores.sqlite import SQLiteStore

    fresh = SQLiteStore(path, trusted_folders=trusted_folders)
    return first(f"{fresh.name} {trusted_folders}", fresh)


def _redis(url: Secret) -> Store:
    from onerefresh.stores.redis import RedisStore

    fresh = RedisStore(url)
    return first(f"{fresh.name} {url.fingerprint()}", fresh)


def _postgres(url: Secret) -> Store:
    from onerefresh.stores.postgres import PostgresStore

    fresh = PostgresStore(url.reveal())
    return first(f"{fresh.name} {url.fingerprint()}", fresh)


def first(name: str, fresh: Store) -> Store:
    """The store that was opened first under this name."""
    with _opening:  # a weak dictionary's setdefault may be cut in half by another thread
        return _opened.setdefault(name, fresh)
