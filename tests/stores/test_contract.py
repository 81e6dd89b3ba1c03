"""The contract of a store, kept by each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore
from onerefresh.testing import FailingStoreContract, SharedStoreContract, StoreContract
from onerefresh.testing.stores.recording import Opener, Outage


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def opener(self) -> Opener:
        store = MemoryStore()
        return lambda: store  # there is no second way to the same memory


class TestSQLiteStore(SharedStoreContract, FailingStoreContract):
    @pytest.fixture
    def opener(self, path: Path) -> Opener:
        return partial(SQLiteStore, path)

    @pytest.fixture
    def outage(self, path: Path) -> Outage:
        return partial(readable_by_all, path)


@contextmanager
def readable_by_all(path: Path) -> Iterator[None]:
    """A store refuses to use a file that others may read: the one way to fail that comes and goes in an instant."""
    path.chmod(0o644)
    try:
        yield
    finally:
        path.chmod(0o600)
