"""Tenants of a test server, with tokens that end when a test wants it, and stores that count."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from onerefresh import Credentials, Store, StoreUnavailable, Token
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record import Record
from onerefresh.record_text import decode
from onerefresh.store import Versioned
from onerefresh.stores import open_store
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer

PATIENCE = 20.0
DUE = {"ends_in": 500.0}
"""Not ageing yet by the usual window of 300 s at most, and due within 600 s."""


def endpoint(server: AuthServer, **others: object) -> TokenEndpoint:
    return TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret, **others)  # type: ignore[arg-type]  # a test's


def issued(server: AuthServer, *, ends_in: float | None = 3600.0, lives: float = 3600.0) -> Token:
    """A login at the server, whose access token ends in so many seconds, as far as its holder knows."""
    answer = server.issue()
    access, refresh = str(answer["access_token"]), str(answer["refresh_token"])
    if ends_in is None:
        return Token(access, refresh)
    ends_at = time.time() + ends_in
    return Token(access, refresh, issued_at=ends_at - lives, expires_at=ends_at)


def log_in(credentials: Credentials, server: AuthServer, *keys: str, **others: float) -> None:
    """Sessions of these tenants, in the store and nowhere else."""
    for key in keys:
        credentials[key].login(issued(server, **others))


def expired(credentials: Credentials, server: AuthServer, *keys: str) -> None:
    log_in(credentials, server, *keys, ends_in=-1.0)


def record_of(store: Store, key: str) -> Record:
    found = store.load(key)
    assert found is not None
    return decode(found.body, key)


def generations(store: Store, *keys: str) -> list[int]:
    return [record_of(store, key).generation for key in keys]


def stores(tmp_path: Path) -> dict[str, Store]:
    return {"memory": MemoryStore(), "sqlite": open_store(f"sqlite:///{tmp_path}/tokens.db")}


class CountingStore(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def load(self, key: str) -> Versioned | None:
        self.asked["load"] += 1
        return super().load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self.asked["cas"] += 1
        return super().cas(key, expected, body)

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        self.asked["scan"] += 1
        return super().scan()


class Face(MemoryStore):
    """Another object for the same records, which hears of changes too: what another process would have."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        for name in ("load", "cas", "wait", "moment", "scan"):
            setattr(self, name, getattr(store, name))


def until(happened: Callable[[], object], what: str) -> None:
    """Wait for something that nothing but a look can tell."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
