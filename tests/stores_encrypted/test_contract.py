"""The contract of a store, kept by the encrypted one over the others."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tests.stores.test_contract import readable_by_all

from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import FailingStoreContract, SharedStoreContract, StoreContract
from onerefresh.testing.stores.recording import Opener, Outage


class TestEncryptedMemoryStore(StoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return partial(EncryptedStore, MemoryStore(), KeyFile(tmp_path / "acme.key"))


class TestEncryptedSQLiteStore(SharedStoreContract, FailingStoreContract):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return partial(EncryptedStore, f"sqlite:///{tmp_path}/tokens.db", KeyFile(tmp_path / "acme.key"))

    @pytest.fixture
    def outage(self, tmp_path: Path) -> Outage:
        return partial(readable_by_all, tmp_path / "tokens.db")
