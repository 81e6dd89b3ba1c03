"""What is left of a moved credential: who finds it is told where it is, and nobody brings an old token back there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token, of_another_process
from tests.credentials.tenants import until
from tests.moving.strict import Strict, another, record_of, renewed

from onerefresh import ConfigurationError, Credential, Credentials, LoginRequired, StoreUnavailable, Token
from onerefresh.credential.bringing import has_gone
from onerefresh.credential.registry import memory_of
from onerefresh.credentials.both_stores import BothStores
from onerefresh.errors import CredentialMoved
from onerefresh.moving import Copied, copy
from onerefresh.record import Grant, Lease, Record
from onerefresh.record_text import encode
from onerefresh.renewal.request import Ahead
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.store import Store, Versioned
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore
from onerefresh.transitions import claimed, logged_out


def never(token: Token) -> dict[str, object]:
    raise AssertionError("nothing is to be refreshed")


def logged_in(store: Store, *keys: str, answer: dict[str, object] | None = None) -> None:
    with Credentials(never, store=store) as credentials:
        for key in keys:
            credentials[key].login(answer or first_token())


def write(store: Store, record: Record, key: str = "a") -> None:
    found = store.load(key)
    store.cas(key, found.version if found is not None else None, encode(record))


# --- Those who know the old store alone ---


def test_whoever_knows_the_old_store_alone_is_told_where_the_session_is() -> None:
    source, target = MemoryStore(), MemoryStore()
    with Credentials(never, store=source) as old:
        token = old["a"].login(first_token())
        copy(another(source), target)
        assert old["a"].current() == token  # the access token serves to its end
        for use in (
            lambda: old["a"].token(refused=token),
            lambda: old["a"].login(first_token(refresh_token="another")),
            lambda: old["a"].logout(),
            lambda: old["a"].retry(),
            lambda: old.delete("a"),
        ):
            with pytest.raises(CredentialMoved, match="it was moved to memory, where its session goes on") as caught:
                use()
            assert "log in" not in str(caught.value)
        status = old["a"].status()
        assert (status.state, status.moved_to) == ("empty", "memory")
        (problem,) = old.refresh_due(within=60.0, keys=["a"]).errors
        assert isinstance(problem, CredentialMoved)
    assert record_of(source).moved_to == "memory"
    assert record_of(target).generation == 1


def test_a_first_token_begins_no_session_where_one_was_moved_away() -> None:
    source, target = MemoryStore(), MemoryStore()
    logged_in(source, "a")
    copy(source, target)
    other = first_token(refresh_token="refresh of another login")
    with Credentials(never, store=another(source), token_for=lambda key: other) as old, pytest.raises(CredentialMoved):
        old["a"].token()


def test_a_process_with_a_live_token_in_memory_never_puts_it_back() -> None:
    source, target = MemoryStore(), MemoryStore()
    source.durable, source.name = True, "source"  # shared with others, so that losses are looked for
    with Credential("a", never, store=source) as stale:
        stale.login(first_token())
        copy(another(source), target)
        memory = memory_of(source, "a")
        assert memory.known is not None
        assert has_gone(memory) is False
        assert (record_of(source).moved_to, record_of(source).token) == ("memory", None)
        with pytest.raises(CredentialMoved):
            stale.token(refused=stale.current())
        assert memory.known is None


@pytest.mark.seconds
def test_a_store_that_goes_back_to_before_the_move_is_told_so_by_whoever_has_seen_it() -> None:
    source, target, refresher = MemoryStore(), MemoryStore(), Refresher()
    with Credential("a", refresher, store=source) as old:
        token = old.login(first_token())
        before = record_of(source)
        copy(another(source), target)
        with pytest.raises(CredentialMoved):
            old.token(refused=token)
        write(another(source), before)
        time.sleep(1.1)  # a failure is remembered for a second
        with pytest.raises(CredentialMoved):
            old.token(refused=token)
        assert refresher.calls == 0
        assert record_of(source).moved_to == "memory"


@pytest.mark.seconds
def test_moved_back_the_old_processes_go_on() -> None:
    server, source, target = Strict(), MemoryStore(), MemoryStore()
    with Credential("a", server.refresh, store=source) as old:
        old.login(server.issue())
        copy(another(source), another(target))
        with pytest.raises(CredentialMoved):
            old.token()
        assert str(renewed(server, another(target))).startswith("access-")
        assert copy(another(target), another(source), verify=True).differ == {}
        until(lambda: memory_of(source, "a").failed is None or _serves(old), "the old process goes on")
    assert server.reused == []
    assert renewed(server, another(target)) == "CredentialMoved"


def _serves(credential: Credential) -> bool:
    try:
        credential.token()
    except CredentialMoved:
        return False
    return True


# --- Those who know both ---


def test_who_names_both_moves_a_credential_when_it_is_used() -> None:
    source, target = MemoryStore(), MemoryStore()
    logged_in(source, "a", "b")
    with Credentials(never, store=target, moved_from=source) as new:
        assert new["b"].status().generation == 1
        assert target.load("b") is None
        assert new["a"].token().reveal() == "access-0"
        assert record_of(source).moved_to == "memory"
        assert record_of(target).generation == 1
        with pytest.raises(LoginRequired):
            new["c"].token()
        assert source.load("c") is None


def test_a_login_and_a_logout_end_the_session_in_the_old_store_too() -> None:
    source, target = MemoryStore(), MemoryStore()
    logged_in(source, "a", "b")
    with Credentials(never, store=target, moved_from=source) as new:
        new["a"].login(first_token(refresh_token="another"))
        new["b"].logout()
    for key in "ab":
        assert record_of(source, key).moved_to == "memory"
    assert record_of(target, "a").generation == 2
    assert record_of(target, "b").is_logged_out


def test_a_deletion_ends_it_in_both_and_a_purge_leaves_nothing() -> None:
    source, target = MemoryStore(), MemoryStore()
    logged_in(source, "a", "b")
    with Credentials(never, store=target, moved_from=source) as new:
        new["b"].token()
        for key in "ab":
            new.delete(key)
            assert record_of(source, key).token is None
            assert record_of(target, key).token is None
            new.purge(key)
    assert list(source.scan()) == list(target.scan()) == []


def test_a_cron_job_refreshes_what_is_still_in_the_old_store() -> None:
    server, source, target = Strict(), MemoryStore(), MemoryStore()
    for key in "abc":
        logged_in(source, key, answer=server.issue())
    with Credentials(server.refresh, store=target, moved_from=source) as new:
        new["a"].token()
        summary = new.refresh_due(within=60.0, keys=["a", "b", "c"], rate=None)
    assert (summary.looked_at, summary.failed, summary.needs_login) == (3, 0, 0)
    assert server.reused == []
    assert {record_of(source, key).moved_to for key in "abc"} == {"memory"}


class Renews:
    identity = "all of this test"

    def __call__(self, token: Token) -> dict[str, object]:
        return {"access_token": "new", "refresh_token": f"after {token.generation}", "expires_in": 3600}


def test_a_record_that_no_key_opens_in_the_target_stops_the_refresh_of_no_other(tmp_path: Path) -> None:
    source, target = MemoryStore(), MemoryStore()
    own, other = (EncryptedStore(target, KeyFile(tmp_path / name)) for name in ("own", "other"))
    with Credentials(Renews(), store=source) as old, Credentials(Renews(), store=other) as foreign:
        for key in ("a", "sealed", "z"):
            old[key].login(first_token(refresh_token=f"refresh of {key}", expires_at=1_000_000_000))
        foreign["sealed"].login(first_token(expires_at=1_000_000_000))
    with Credentials(Renews(), store=own, moved_from=source) as new:
        summary = new.refresh_due(within=60.0, rate=None)
    assert (summary.looked_at, summary.refreshed, summary.unreadable) == (3, 2, 1), summary
    assert [error.credential for error in summary.errors] == ["sealed"]


class Broken(MemoryStore):
    """Fails to read one record by itself."""

    def load(self, key: str) -> Versioned | None:
        if key == "broken":
            raise OSError("a bad sector")
        return super().load(key)


def test_a_record_that_the_source_fails_to_read_hides_no_other() -> None:
    store = MemoryStore()
    logged_in(store, "a", "broken", "z")
    copy(another(store), MemoryStore())
    assert [key for key, _ in BothStores(store, Broken()).scan()] == ["a", "broken", "z"]


def test_one_and_the_same_place_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tokens.db"
    with pytest.raises(ConfigurationError, match="names the store itself"):
        Credential("a", never, store=url, moved_from=url)
    with pytest.raises(ConfigurationError, match="cannot be copied to itself"):
        copy(url, SQLiteStore(tmp_path / "tokens.db"))


# --- What the target has already ---


def moved(source: Store, target: Store) -> Copied:
    return copy(source, target, verify=True)


def test_a_newer_generation_in_the_target_is_kept() -> None:
    server, source, target = Strict(), MemoryStore(), MemoryStore()
    logged_in(source, "a", answer=server.issue())
    backup = record_of(source)
    moved(source, target)
    assert str(renewed(server, another(target))).startswith("access-")
    newest = target.load("a")
    copied_back = MemoryStore()
    write(copied_back, backup)
    done = moved(copied_back, target)
    assert (done.kept, done.moved, done.failed, done.differ) == (1, 0, {}, {})
    assert target.load("a") == newest


def test_an_older_generation_in_the_target_is_replaced() -> None:
    server, source, target = Strict(), MemoryStore(), MemoryStore()
    logged_in(source, "a", answer=server.issue())
    write(target, record_of(source))
    renewed(server, another(source))
    done = moved(source, target)
    assert (done.moved, done.failed, done.differ) == (1, {}, {})
    assert server.is_alive(record_of(target).token)  # type: ignore[arg-type]  # it has one


@pytest.mark.parametrize("ended", [False, True])
def test_another_session_in_the_target_is_refused_and_nothing_changes(ended: bool) -> None:
    source, target = MemoryStore(), MemoryStore()
    logged_in(source, "a")
    logged_in(target, "a", answer=first_token(refresh_token="another"))
    if ended:
        write(target, logged_out(record_of(target), now=1.0))
    before = source.load("a"), target.load("a")
    done = moved(source, target)
    assert "another session" in str(done.failed["a"])
    assert (source.load("a"), target.load("a")) == before


def test_a_damaged_record_stays_and_is_told() -> None:
    source, target = MemoryStore(), MemoryStore()
    source.cas("a", None, "no record")
    logged_in(source, "b")
    done = moved(source, target)
    assert isinstance(done.failed["a"], StoreUnavailable)
    assert done.moved == 1


# --- Renewals under way ---


def test_a_refresh_under_way_is_waited_for_and_its_token_is_moved() -> None:
    source, target, refresher = MemoryStore(), MemoryStore(), Refresher(gated=True)
    with Credential("a", refresher, store=source) as old:
        old.login(first_token(expires_at=1_000_000_000))
        flight, _ = old._ahead(Ahead(60.0), None)
        refresher.wait_until_entered()
        with Credential("a", never, store=target, moved_from=of_another_process(source)) as new:
            waiting = new._launcher.run_command(_nothing, None)
            until(lambda: "a process refreshes it in memory" in waiting.phase, "it waits")
            refresher.leave.set()
            assert waiting.wait(20.0)
            assert new.token().generation == 2
        assert flight.wait(20.0)


async def _nothing(_: object) -> None:
    pass


def test_a_copy_moves_what_nobody_refreshes_before_it_waits_for_a_refresh() -> None:
    """Of a provider that hangs, hundreds may be under way, each for minutes."""
    source, target, order = MemoryStore(), MemoryStore(), list[str]()
    logged_in(source, *"abcd")
    free = {key: record_of(source, key) for key in "ab"}
    for key in "ab":
        write(source, claimed(free[key], Lease("theirs", Grant.REFRESH, 3.0), owner=None), key)

    def ends_with_the_last(key: str, did: object, sum_: Copied) -> None:
        order.append(key)
        if set(order) == {"c", "d"}:
            for other, record in free.items():
                write(source, record, other)

    done = copy(source, target, at_once=1, progress=ends_with_the_last)
    assert [sorted(order[:2]), sorted(order[2:])] == [["c", "d"], ["a", "b"]]
    assert (done.total, done.moved, done.failed) == (4, 4, {})


def test_a_record_that_a_store_fails_to_read_ends_no_copy() -> None:
    source, target = Broken(), MemoryStore()
    logged_in(source, "a", "z")
    source.cas("broken", None, "whatever is there")
    done = copy(source, target, verify=True)
    assert (done.moved, list(done.failed), done.differ) == (2, ["broken"], {})


def test_a_token_that_comes_too_late_waits_in_the_spool_and_follows(tmp_path: Path) -> None:
    source, target = SQLiteStore(tmp_path / "old" / "a.db"), SQLiteStore(tmp_path / "new" / "b.db")
    refresher = Refresher(gated=True)
    with Credential("a", refresher, store=source) as old:
        old.login(first_token(expires_at=1_000_000_000))
        old._ahead(Ahead(60.0), None)
        refresher.wait_until_entered()
        held = record_of(source)
        assert held.lease is not None
        write(source, claimed(held, Lease("over", Grant.REFRESH, 0.0), owner=None))  # as if its time had run out
        assert copy(source, target).moved == 1
        left = record_of(target).failure
        assert left is not None
        assert (left.maybe_spent, left.contested) == (True, True)
        refresher.leave.set()
        until(lambda: Spool(source, "a").read() is not None, "it waits in the spool")
        assert copy(source, target, verify=True).differ == {}
    there = record_of(target)
    assert there.generation == 2
    assert there.token is not None
    assert there.token.reveal_refresh_token() == "refresh-1"
    assert Spool(source, "a").read() is None


def test_a_token_that_was_spooled_in_the_old_store_is_moved(tmp_path: Path) -> None:
    source, target = SQLiteStore(tmp_path / "old" / "a.db"), SQLiteStore(tmp_path / "new" / "b.db")
    logged_in(source, "a")
    family = record_of(source).family
    assert Spool(source, "a").write(Spooled(family, 1, "x", Grant.REFRESH, False, Token("access-1", "refresh-1")))
    with Credential("a", never, store=target, moved_from=source) as new:
        assert new.token().reveal() == "access-1"
    assert record_of(target).generation == 2


def test_stores_with_different_keys_are_copied(tmp_path: Path) -> None:
    source = EncryptedStore(f"sqlite:///{tmp_path}/a.db", KeyFile(tmp_path / "k" / "a.key"), context="a")
    target = EncryptedStore(f"sqlite:///{tmp_path}/b.db", KeyFile(tmp_path / "k" / "b.key"))
    logged_in(source, "a")
    assert moved(source, target).moved == 1
    with Credential("a", never, store=target) as new:
        assert new.token().reveal() == "access-0"


def test_verify_tells_what_is_not_as_it_should_be() -> None:
    source, target = MemoryStore(), MemoryStore()
    logged_in(source, *"abc")
    moved(source, target)
    for key, change in (("a", None), ("b", "older")):
        found: Any = target.load(key)
        if change is None:
            target.remove(key, found.version)
        else:
            logged_in(another(target), key, answer=first_token(refresh_token="yet another"))
            record = record_of(target, key)
            write(target, Record((record.family,), 1, record.state, record.token), key)
    differ = moved(source, target).differ
    assert differ == {"a": "it is not in memory", "b": "memory has another session"}
