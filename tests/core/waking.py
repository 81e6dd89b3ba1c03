"""Stores that wait in ways of their own, and what subscribes to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.core.calls import PATIENCE

from onerefresh import wakeups
from onerefresh.pause import Wakeup
from onerefresh.store import Store, Versioned
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.wakeups import wakeup_for

KEY = bytes(range(32))
IDS = ["bare", "encrypted", "encrypted twice"]
WRAPPINGS: list[Callable[[Store], Store]] = [
    lambda store: store,
    lambda store: EncryptedStore(store, lambda: KEY),
    lambda store: EncryptedStore(EncryptedStore(store, lambda: KEY), lambda: KEY),
]


class Own(Store):
    """A store with nothing but what it needs."""

    def load(self, key: str) -> Versioned | None:
        return None

    def cas(self, key: str, expected: str | None, body: str) -> str:
        raise NotImplementedError


class Waiting(Own):
    """It waits in its own `wait`, one slice at a time. `ends`: lets each go on."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, float]] = []
        self.news, self.changed = threading.Condition(), False

    def wait(self, key: str, version: str, timeout: float) -> None:
        with self.news:
            self.heard.append((key, version, timeout))
            self.news.notify_all()
            self.news.wait_for(lambda: self.changed, timeout)

    def until(self, count: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: len(self.heard) >= count, PATIENCE)

    def change(self) -> None:
        with self.news:
            self.changed = True
            self.news.notify_all()


class Wakings:
    """Counts how often it was called."""

    def __init__(self) -> None:
        self.count, self.woken = 0, threading.Event()

    def __call__(self) -> None:
        self.count += 1
        self.woken.set()


def subscribe(store: Store, wake: Callable[[], object], key: str = "acme", version: str = "1") -> Wakeup:
    return wakeup_for(store, key, version, time.monotonic(), wake)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)


@contextmanager
def all_threads_end() -> Iterator[None]:
    yield
    until(lambda: not wakeups._waiting)


around_each = pytest.mark.parametrize("wrapped", WRAPPINGS, ids=IDS)
"""For a test that gets `wrapped`: a function that returns the store, or an encrypted store around it."""
