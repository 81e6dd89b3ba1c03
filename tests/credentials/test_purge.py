"""purge: after a deletion nothing is left of a tenant in the store, for the law."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from tests.core.calls import first_token
from tests.credentials.tenants import stores, until
from tests.credentials.test_delete import spooled

from onerefresh import ConfigurationError, Credential, Credentials, LoginRequired, Token
from onerefresh.store import Store, Versioned
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore


def never(token: Token) -> dict[str, object]:
    raise AssertionError("nothing is to be refreshed")


@pytest.mark.seconds
@pytest.mark.parametrize("kind", ["memory", "sqlite", "encrypted"])
def test_nothing_is_left_of_a_deleted_tenant(kind: str, tmp_path: Path) -> None:
    encrypted = EncryptedStore(MemoryStore(), KeyFile(tmp_path / "k" / "key"))
    store = {**stores(tmp_path), "encrypted": encrypted}[kind]
    with Credentials(never, store=store) as credentials:
        for key in "ab":
            credentials[key].login(first_token())
        credentials.delete("a")
        credentials.purge("a")
        assert store.load("a") is None
        assert [key for key, _ in store.scan()] == ["b"]
        with pytest.raises(LoginRequired):
            credentials["a"].token()
        assert store.load("a") is None
        assert credentials["b"].token().reveal() == "access-0"


def test_no_byte_of_the_name_is_left_in_the_file(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tokens.db")
    with Credentials(never, store=store) as credentials:
        credentials["a-name-to-forget"].login(first_token())
        credentials.delete("a-name-to-forget")
        assert b"a-name-to-forget" in (tmp_path / "tokens.db").read_bytes()
        credentials.purge("a-name-to-forget")
    assert b"a-name-to-forget" not in (tmp_path / "tokens.db").read_bytes()
    with sqlite3.connect(tmp_path / "tokens.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_tenant_with_a_session_must_be_deleted_first() -> None:
    store = MemoryStore()
    with Credentials(never, store=store) as credentials:
        credentials["a"].login(first_token())
        before = store.load("a")
        with pytest.raises(ConfigurationError, match="delete it first"):
            credentials.purge("a")
        assert store.load("a") == before


def test_a_credential_that_was_logged_out_is_purged() -> None:
    store = MemoryStore()
    with Credential("a", never, store=store) as credential:
        credential.login(first_token())
        credential.logout()
        credential.purge()
        assert store.load("a") is None
        asyncio.run(credential.apurge())


def test_purging_twice_or_what_was_never_there_does_no_harm() -> None:
    with Credentials(never, store=MemoryStore()) as credentials:
        credentials.delete("a")
        for key in "aab":
            credentials.purge(key)
        asyncio.run(credentials.apurge("a"))
        until(lambda: credentials._recent.all() == [], "it is kept")


def test_its_spool_files_are_removed(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tokens.db")
    with Credentials(never, store=store) as credentials:
        credentials.delete("a")
        folder = spooled(store, "a", "one")
        credentials.purge("a")
    assert list(folder.iterdir()) == []


def test_a_tenant_may_log_in_anew_after_a_purge() -> None:
    with Credentials(never, store=MemoryStore()) as credentials:
        credentials["a"].login(first_token())
        credentials.delete("a")
        credentials.purge("a")
        assert credentials["a"].login(first_token()).generation == 1


class Mine(Store):
    """A user's own store, with the two methods that are enough."""

    def __init__(self) -> None:
        self._inner = MemoryStore()

    def load(self, key: str) -> Versioned | None:
        return self._inner.load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        return self._inner.cas(key, expected, body)


def test_a_store_of_ones_own_without_remove_says_what_is_missing() -> None:
    with Credentials(never, store=Mine()) as credentials:
        credentials.delete("a")
        with pytest.raises(ConfigurationError, match="give its class the method `remove`"):
            credentials.purge("a")


def test_what_a_purge_gives_up_a_process_with_an_old_token_brings_it_back() -> None:
    store = MemoryStore()
    face = MemoryStore()
    face.__dict__ = store.__dict__
    with Credentials(never, store=face) as elsewhere, Credentials(never, store=store) as here:
        knows = elsewhere["a"].login(first_token())
        here.delete("a")
        here.purge("a")
        elsewhere["a"].token(refused=None)
        assert elsewhere["a"].current() == knows  # it has not noticed, and would store it again
