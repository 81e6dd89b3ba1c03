"""delete: the tenant is gone, whatever its record looks like, and nobody brings it back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token, in_threads
from tests.credentials.tenants import Face, record_of, stores, until

from onerefresh import CredentialClosed, Credentials, LoginRequired, StoreUnavailable, Token
from onerefresh.private_files import state_folder
from onerefresh.record import Grant, State
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.store import Store, Unreadable
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore


def never(token: Token) -> dict[str, object]:
    raise AssertionError("nothing is to be refreshed")


def assert_gone(store: Store, key: str) -> None:
    record = record_of(store, key)
    assert (record.state, record.token) == (State.EMPTY, None)
    with Credentials(never, store=store) as others, pytest.raises(LoginRequired):
        others[key].token()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_deleted_tenant_has_no_token_here_nor_in_the_store(kind: str, tmp_path: Path) -> None:
    store = stores(tmp_path)[kind]
    with Credentials(never, store=store) as credentials:
        held = credentials["a"]
        held.login(first_token())
        credentials["b"].login(first_token())
        credentials.delete("a")
        assert held.current() is None
        assert held.unproven is None
        with pytest.raises(LoginRequired):
            held.token()
        assert_gone(store, "a")
        assert credentials["b"].token().reveal() == "access-0"


class Revoking:
    """A refresher that revokes, or cannot."""

    def __init__(self, *, fails: bool) -> None:
        self.fails, self.revoked = fails, list[str]()

    def __call__(self, token: Token) -> dict[str, object]:
        return never(token)

    def revoke(self, token: Token) -> None:
        if self.fails:
            raise ConnectionError
        self.revoked.append(token.reveal())


@pytest.mark.parametrize(("fails", "revocation"), [(False, "revoked"), (True, "not_confirmed")])
def test_a_deletion_says_what_became_of_the_token_at_the_server(fails: bool, revocation: str) -> None:
    refresher = Revoking(fails=fails)
    with Credentials(refresher, store="memory") as credentials:
        credentials["a"].login(first_token())
        assert credentials.delete("a").revocation == revocation
        assert credentials.delete("a").revocation == "no_token"
        credentials["b"].login(first_token())
        assert asyncio.run(credentials.adelete("b")).revocation == revocation
    assert len(refresher.revoked) == (0 if fails else 2)
    with Credentials(never, store="memory") as credentials:
        credentials["a"].login(first_token())
        assert credentials.delete("a").revocation == "no_endpoint"


def test_a_deleted_tenant_is_kept_in_memory_no_longer() -> None:
    with Credentials(never, store="memory") as credentials:
        credentials["a"].login(first_token())
        credentials.delete("a")
        until(lambda: credentials._recent.all() == [], "it is kept")


def test_a_task_deletes_too() -> None:
    store = MemoryStore()
    with Credentials(never, store=store) as credentials:
        credentials["a"].login(first_token())
        asyncio.run(credentials.adelete("a"))
        until(lambda: credentials._recent.all() == [], "it is kept")
    assert_gone(store, "a")


def test_deleting_what_is_not_there_or_twice_does_no_harm() -> None:
    store = MemoryStore()
    with Credentials(never, store=store) as credentials:
        credentials.delete("a")
        credentials.delete("a")
    assert_gone(store, "a")


def test_a_refresh_under_way_elsewhere_does_not_bring_it_back() -> None:
    store, refresher = MemoryStore(), Refresher(gated=True)
    elsewhere, here = Credentials(refresher, store=store), Credentials(never, store=Face(store))
    elsewhere["a"].login(first_token(expires_at=1_000_000_000))
    flight, _ = elsewhere._tenant("a").renew_ahead(60.0, None)
    refresher.wait_until_entered()
    here.delete("a")
    refresher.leave.set()
    elsewhere.close()
    here.close()
    assert flight.settled
    assert_gone(store, "a")


def test_a_process_that_knows_its_token_does_not_bring_it_back() -> None:
    store = MemoryStore()
    refresher = Refresher()
    elsewhere, here = Credentials(refresher, store=store), Credentials(never, store=Face(store))
    knows = elsewhere["a"].login(first_token())
    here.delete("a")
    with pytest.raises(LoginRequired):
        elsewhere["a"].token(refused=knows)
    assert refresher.calls == 0
    assert_gone(store, "a")


def test_a_tenant_may_log_in_anew_after_all() -> None:
    with Credentials(never, store="memory") as credentials:
        credentials["a"].login(first_token())
        credentials.delete("a")
        credentials["a"].login(first_token())
        assert credentials["a"].token().reveal() == "access-0"


def test_deleting_needs_no_refresher() -> None:
    """The tenant's row may be gone before its credential."""
    refresher_of: dict[str, Any] = {"a": never}
    store = MemoryStore()
    with Credentials(None, store=store, refresher_for=refresher_of.__getitem__, keep=1) as credentials:
        credentials["a"].login(first_token())
        refresher_of.clear()
        credentials.delete("a")
        credentials.delete("never seen")
        assert record_of(store, "a").token is None


# --- What cannot be read ---


def test_a_damaged_record_is_deleted() -> None:
    store = MemoryStore()
    store.cas("a", None, "no record")
    with Credentials(never, store=store) as credentials:
        with pytest.raises(StoreUnavailable):
            credentials["a"].token()
        credentials.delete("a")
    assert_gone(store, "a")


def sealed_with_a_lost_key(path: Path) -> EncryptedStore:
    """A store that holds `a`, and now has another key than `a` was encrypted with."""
    written = EncryptedStore(SQLiteStore(path / "tokens.db"), KeyFile(path / "lost" / "key"))
    with Credentials(never, store=written) as credentials:
        credentials["a"].login(first_token())
    return EncryptedStore(SQLiteStore(path / "tokens.db"), KeyFile(path / "new" / "key"))


def test_a_record_whose_key_is_lost_is_deleted_and_nothing_else_writes_over_it(tmp_path: Path) -> None:
    store = sealed_with_a_lost_key(tmp_path)
    with Credentials(never, store=store) as credentials:
        for refused in (credentials["a"].token, credentials["a"].logout, lambda: credentials["a"].login(first_token())):
            with pytest.raises(StoreUnavailable, match="encrypted with another key"):
                refused()
        credentials.delete("a")
        assert_gone(store, "a")
        credentials["a"].login(first_token())
        assert credentials["a"].token().reveal() == "access-0"


def test_a_sealed_record_in_a_store_without_any_key_is_deleted(tmp_path: Path) -> None:
    sealed_with_a_lost_key(tmp_path)
    store = SQLiteStore(tmp_path / "tokens.db")
    with Credentials(never, store=store) as credentials:
        with pytest.raises(StoreUnavailable, match="encrypted"):
            credentials["a"].logout()
        credentials.delete("a")
    assert_gone(store, "a")


@pytest.mark.parametrize("change", [{"schema": 2}, {"state": "parked"}], ids=["a schema", "a state"])
def test_a_record_of_a_newer_version_is_deleted_and_nothing_else_writes_over_it(change: dict[str, object]) -> None:
    store = MemoryStore()
    with Credentials(never, store=store) as credentials:
        credentials["a"].login(first_token())
        found = store.load("a")
        assert found is not None
        body = json.dumps({**json.loads(found.body), **change, "checksum": "of another kind"})
    store = MemoryStore()  # another one: a thread that is about to end may still hold what was logged in
    store.cas("a", None, body)
    with Credentials(never, store=store) as credentials:
        for refused in (
            lambda: credentials["a"].token(refused=None),
            credentials["a"].status,
            credentials["a"].logout,
            lambda: credentials["a"].login(first_token()),
        ):
            with pytest.raises(Unreadable, match="newer version of onerefresh: update onerefresh; nothing") as caught:
                refused()
            assert "log in" not in str(caught.value)
        left = store.load("a")
        assert left is not None
        assert left.body == body
        credentials.delete("a")
    assert_gone(store, "a")


def test_what_was_changed_meanwhile_is_read_again(tmp_path: Path) -> None:
    """The version of what no key opens is compared as any other is."""
    store = sealed_with_a_lost_key(tmp_path)
    with pytest.raises(Unreadable) as caught:
        store.load("a")
    inner = SQLiteStore(tmp_path / "tokens.db").load("a")
    assert inner is not None
    assert caught.value.version == inner.version
    assert caught.value.fresh().version == inner.version


# --- The spool ---


def spooled(store: Store, key: str, attempt: str) -> Path:
    spool = Spool(store, key)
    assert spool.write(Spooled("family", 1, attempt, Grant.REFRESH, False, Token("access", "refresh")))
    return state_folder() / "spool"


def test_its_spool_files_are_deleted_and_no_others(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tokens.db")
    folder = spooled(store, "b", "one")
    (of_b,) = folder.iterdir()
    spooled(store, "a", "two")
    spooled(store, "a", "three")
    with Credentials(never, store=store) as credentials:
        credentials.delete("a")
    assert list(folder.iterdir()) == [of_b]


def test_spool_files_that_no_key_opens_are_deleted_too(tmp_path: Path) -> None:
    store = sealed_with_a_lost_key(tmp_path)
    folder = spooled(
        EncryptedStore(SQLiteStore(tmp_path / "tokens.db"), KeyFile(tmp_path / "lost" / "key")), "a", "one"
    )
    (path,) = folder.iterdir()
    assert "sealed" in json.loads(path.read_text())
    with Credentials(never, store=store) as credentials:
        credentials.delete("a")
    assert list(folder.iterdir()) == []


def test_a_spool_file_of_a_newer_version_is_kept_until_somebody_deletes(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "tokens.db")
    folder = spooled(store, "a", "one")
    (path,) = folder.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2, "checksum": "of another kind"}))
    with Credentials(never, store=store) as credentials:
        credentials["b"].login(first_token())
        with pytest.raises(StoreUnavailable, match=f"{path}: .*newer version of onerefresh: update onerefresh"):
            credentials["a"].token()
        assert list(folder.iterdir()) == [path]
        credentials.delete("a")
    assert list(folder.iterdir()) == []


# --- Trouble ---


class Down(MemoryStore):
    def cas(self, key: str, expected: str | None, body: str) -> str:
        raise StoreUnavailable("it is down")


def test_a_store_that_is_down_is_told_and_nothing_is_forgotten() -> None:
    with Credentials(never, store=Down()) as credentials:
        with pytest.raises(StoreUnavailable, match="it is down"):
            credentials.delete("a")


def test_many_threads_may_delete_and_log_in_at_the_same_time() -> None:
    with Credentials(never, store="memory") as credentials:
        in_threads([lambda: credentials.delete("a"), lambda: credentials["a"].login(first_token())] * 8)
        credentials.delete("a")
        with pytest.raises(LoginRequired):
            credentials["a"].token()
    with pytest.raises(CredentialClosed):
        asyncio.run(credentials.adelete("a"))
