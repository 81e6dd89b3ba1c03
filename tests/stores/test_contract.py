"""The contract of a store, kept by each of them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from tests.stores.contract import StoreContract, StoreMachine

from onerefresh.store import Store
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    @pytest.fixture
    def again(self, store: Store) -> Store:
        return store  # there is no second way to the same memory


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return SQLiteStore(tmp_path / "tokens.db")

    @pytest.fixture
    def again(self, store: Store, tmp_path: Path) -> Store:
        return SQLiteStore(tmp_path / "tokens.db")


class MemoryMachine(StoreMachine):
    def __init__(self) -> None:
        self.memory = MemoryStore()
        super().__init__()

    def open_store(self) -> Store:
        return self.memory


class SQLiteMachine(StoreMachine):
    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="onerefresh-")
        super().__init__()

    def open_store(self) -> Store:
        return SQLiteStore(Path(self.folder) / "tokens.db")

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


TestMemoryHistories = MemoryMachine.TestCase
TestSQLiteHistories = SQLiteMachine.TestCase
TestSQLiteHistories.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
