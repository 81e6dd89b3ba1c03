"""The PostgreSQL store.

`PostgresStore` is imported when it is first used, since it needs psycopg. `onerefresh store init --sql` prints the
statements of `sql` without psycopg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onerefresh.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]


def __getattr__(name: str) -> object:
    if name != "PostgresStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from onerefresh.stores.postgres.store import PostgresStore

    return PostgresStore
