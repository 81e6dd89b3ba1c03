"""The contract of a store, kept by the encrypted one over the others."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from tests.stores.contract import StoreContract, StoreMachine

from onerefresh.store import Store
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore


class TestEncryptedMemoryStore(StoreContract):
    @pytest.fixture
    def inner(self) -> Store:
        return MemoryStore()

    @pytest.fixture
    def store(self, inner: Store, tmp_path: Path) -> Store:
        return EncryptedStore(inner, KeyFile(tmp_path / "acme.key"))

    @pytest.fixture
    def again(self, inner: Store, tmp_path: Path) -> Store:
        return EncryptedStore(inner, KeyFile(tmp_path / "acme.key"))


class TestEncryptedSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return EncryptedStore(f"sqlite:///{tmp_path}/tokens.db", KeyFile(tmp_path / "acme.key"))

    @pytest.fixture
    def again(self, store: Store, tmp_path: Path) -> Store:
        return EncryptedStore(SQLiteStore(tmp_path / "tokens.db"), KeyFile(tmp_path / "acme.key"))


class EncryptedMachine(StoreMachine):
    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="onerefresh-")
        self.inner = MemoryStore()
        super().__init__()

    def open_store(self) -> Store:
        return EncryptedStore(self.inner, KeyFile(Path(self.folder) / "acme.key"))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


TestEncryptedHistories = EncryptedMachine.TestCase
TestEncryptedHistories.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
