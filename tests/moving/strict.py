"""A strict server in this process, workers with memories of their own, and stores in which something happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from onerefresh import Credential, LoginRequired, OnerefreshError, Store, StoreUnavailable, Token
from onerefresh.record import Record
from onerefresh.record_text import decode
from onerefresh.store import AdvisoryLock, StoreTime, Versioned
from onerefresh.stores.memory import MemoryStore


class Strict:
    """Each refresh token works once. `reused`: those that came a second time, or were never issued."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._valid: set[str] = set()
        self.issued = self.refreshes = 0
        self.reused: list[str] = []

    def issue(self, **others: object) -> dict[str, object]:
        """A token response. The access token has expired already, unless the test wants it otherwise."""
        with self._lock:
            self.issued += 1
            self._valid.add(f"refresh-{self.issued}")
            return {
                "access_token": f"access-{self.issued}",
                "refresh_token": f"refresh-{self.issued}",
                "expires_in": 0.001,
                **others,
            }

    def refresh(self, token: Token) -> dict[str, object]:
        text = token.reveal_refresh_token() or ""
        with self._lock:
            if text not in self._valid:
                self.reused.append(text)
                raise LoginRequired("it was used before")
            self._valid.remove(text)
            self.refreshes += 1
        return self.issue()

    def is_alive(self, token: Token) -> bool:
        return token.reveal_refresh_token() in self._valid


def another(store: MemoryStore) -> MemoryStore:
    """The same place, as another process has it: with a memory of its own."""
    face = MemoryStore()
    face.__dict__ = store.__dict__
    return face


def renewed(server: Strict, store: Store, key: str = "a", *, moved_from: Store | None = None) -> str | None:
    """A new process that needs a token, which has expired: the next one, or why there is none."""
    with Credential(key, server.refresh, store=store, moved_from=moved_from, max_wait=20.0) as worker:
        try:
            return worker.token().reveal()
        except OnerefreshError as error:
            return type(error).__name__


def record_of(store: Store, key: str = "a") -> Record:
    found = store.load(key)
    assert found is not None
    return decode(found.body, key)


class Ended(BaseException):
    """The process was killed here."""


class Watched(Store):
    """A store of another one, with something that happens before or after its operations.

    `happens`: called with the number of the operation, counted over all stores that share `counter`.
    """

    def __init__(self, inner: MemoryStore, counter: list[int], happens: Callable[[int], None], name: str) -> None:
        self._inner, self._counter, self._happens = inner, counter, happens
        self.name = name

    def _next(self) -> None:
        self._counter[0] += 1
        self._happens(self._counter[0])

    def load(self, key: str) -> Versioned | None:
        self._next()
        return self._inner.load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self._next()
        version = self._inner.cas(key, expected, body)
        self._next()
        return version

    def hold(self, key: str) -> AdvisoryLock | None:
        return self._inner.hold(key)

    def moment(self) -> StoreTime | None:
        return self._inner.moment()

    def wait(self, key: str, version: str, timeout: float) -> None:
        self._inner.wait(key, version, min(timeout, 0.01))

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        return self._inner.scan()
