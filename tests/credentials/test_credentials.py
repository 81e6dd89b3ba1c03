"""Many credentials: one object for each key in use, one flight for each key, and no store in steady state."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token, in_threads, listening, wait_for
from tests.credentials.tenants import PATIENCE, CountingStore, Face, endpoint, expired, issued, log_in, record_of

from onerefresh import (
    ConfigurationError,
    Credential,
    CredentialClosed,
    Credentials,
    LoginRequired,
    Token,
)
from onerefresh.credential.registry import _registry
from onerefresh.events import Kind
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer


def never(token: Token) -> dict[str, object]:
    raise AssertionError("nothing is to be refreshed")


# --- One object for each key ---


def test_a_key_has_one_credential() -> None:
    with Credentials(never, store="memory") as credentials:
        acme = credentials["acme"]
        assert isinstance(acme, Credential)
        assert acme.key == "acme"
        assert credentials["acme"] is acme
        assert credentials["other"] is not acme


def test_the_first_of_many_threads_makes_it() -> None:
    with Credentials(never, store="memory") as credentials:
        found = in_threads([lambda: credentials["acme"]] * 32)
        assert len({id(one) for one in found}) == 1


def test_those_used_last_are_kept_and_the_others_are_not() -> None:
    with Credentials(never, store="memory", keep=2) as credentials:
        gone = {key: weakref.ref(credentials[key]) for key in ("a", "b", "c")}
        credentials["b"]
        credentials["d"]
        gc.collect()
        assert {key: one() is not None for key, one in gone.items()} == {"a": False, "b": True, "c": False}


def test_one_that_somebody_holds_is_found_again() -> None:
    with Credentials(never, store="memory", keep=1) as credentials:
        held = credentials["a"]
        for other in "bcd":
            credentials[other]
        assert credentials["a"] is held


def test_memory_is_bounded_by_those_that_are_kept() -> None:
    with Credentials(never, store="memory", keep=10) as credentials:
        for number in range(1000):
            credentials[f"tenant-{number}"]
        gc.collect()
        assert len(credentials._recent.all()) == 10


def test_nothing_is_left_of_tenants_that_two_stores_have_had() -> None:
    calendars, contacts = MemoryStore(), MemoryStore()
    with Credentials(never, store=calendars, keep=3) as one, Credentials(never, store=contacts, keep=3) as other:
        before = len(_registry._namesakes)
        for number in range(50):
            for credentials in (one, other):
                credentials[f"tenant-{number}"]
        gc.collect()
        assert len(_registry._namesakes) - before == 3


def test_one_that_was_dropped_is_read_from_the_store_again() -> None:
    store = CountingStore()
    credentials = Credentials(never, store=store, keep=1)
    credentials["a"].login(first_token())
    credentials["b"]
    gc.collect()
    store.asked.clear()
    assert credentials["a"].token().reveal() == "access-0"
    assert store.asked == {"load": 1}


def test_one_that_was_dropped_and_ages_is_renewed_by_its_next_call(auth_server: AuthServer) -> None:
    credentials = Credentials(endpoint(auth_server), store="memory", keep=1)
    log_in(credentials, auth_server, "a", ends_in=100.0)
    credentials["b"]
    gc.collect()
    with listening() as heard:
        assert credentials["a"].token().generation == 1
        wait_for(heard, Kind.REFRESHED)
    assert credentials["a"].token().generation == 2
    assert auth_server.counters.token_requests == 1


def test_one_that_was_closed_by_itself_is_made_anew() -> None:
    with Credentials(never, store="memory") as credentials:
        credentials["a"].login(first_token())
        credentials["a"].close()
        assert credentials["a"].token().reveal() == "access-0"


# --- Flights and the store ---


def test_many_threads_of_one_tenant_share_one_request(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        expired(credentials, auth_server, "a", "b")
        found = in_threads([lambda key=key: credentials[key].token().identity for key in "ab" for _ in range(20)])  # type: ignore[misc]  # bound now
    assert len(set(found)) == 2
    assert auth_server.counters.token_requests == 2


def test_a_renewal_outlives_its_object_and_the_next_one_joins_it() -> None:
    refresher = Refresher(gated=True)
    with Credentials(refresher, store="memory", keep=1) as credentials:
        credentials["a"].login(first_token(expires_at=1_000_000_000))
        threading.Thread(target=lambda: credentials["a"].token()).start()
        refresher.wait_until_entered()
        credentials["b"]
        flight = credentials._tenant("a")._memory.flying
        assert flight is not None
        refresher.leave.set()
        assert credentials["a"].token().reveal() == "access-1"
        assert flight.wait(PATIENCE)
    assert refresher.calls == 1


def test_each_key_is_read_once_and_then_the_store_is_left_alone() -> None:
    store = CountingStore()
    with Credentials(never, store=Face(store)) as writer:
        for key in "abc":
            writer[key].login(first_token(expires_in=3600))
    store.asked.clear()
    credentials = Credentials(never, store=store)
    for key in "abc":
        credentials[key].token()
    assert store.asked == {"load": 3}
    store.asked.clear()
    for key in "abc" * 100:
        assert credentials[key].current() is not None
        credentials[key].token()
    assert store.asked == {}


def test_a_tenant_logs_in_and_out() -> None:
    with Credentials(never, store="memory") as credentials:
        with pytest.raises(LoginRequired):
            credentials["a"].token()
        credentials["a"].login(first_token())
        assert credentials["a"].bearer() == "access-0"
        credentials["a"].logout()
        with pytest.raises(LoginRequired):
            credentials["a"].token()


def test_tasks_of_many_tenants(auth_server: AuthServer) -> None:
    async def run(credentials: Credentials) -> set[tuple[str, int]]:
        async with credentials:
            keys = [f"tenant-{number}" for number in range(10)] * 5
            tokens = await asyncio.gather(*(credentials[key].atoken() for key in keys))
            return {token.identity for token in tokens}

    credentials = Credentials(endpoint(auth_server), store="memory")
    expired(credentials, auth_server, *(f"tenant-{number}" for number in range(10)))
    assert len(asyncio.run(run(credentials))) == 10
    assert auth_server.counters.token_requests == 10


# --- A refresher for each ---


def test_each_tenant_may_have_a_refresher_of_its_own(new_auth_server: Any) -> None:
    servers = {"a": new_auth_server(), "b": new_auth_server(client_id="other")}
    with Credentials(None, store="memory", refresher_for=lambda key: endpoint(servers[key])) as credentials:
        for key, server in servers.items():
            expired(credentials, server, key)
        for key in servers:
            credentials[key].token()
    assert [server.counters.token_requests for server in servers.values()] == [1, 1]


def test_a_tenant_without_one_of_its_own_has_the_refresher_of_all() -> None:
    common, own = Refresher(), Refresher()
    own_of = {"b": own}.get
    with Credentials(common, store="memory", refresher_for=own_of) as credentials:
        for key in "ab":
            credentials[key].login(first_token(expires_at=1_000_000_000))
            credentials[key].token()
    assert (common.calls, own.calls) == (1, 1)


def test_what_refresher_for_raises_comes_out() -> None:
    tenants: dict[str, Any] = {}
    with Credentials(None, store="memory", refresher_for=tenants.__getitem__) as credentials:
        with pytest.raises(KeyError, match="nobody"):
            credentials["nobody"]
        tenants["nobody"] = never
        assert credentials["nobody"].key == "nobody"


def test_a_tenant_without_any_refresher_is_told_so() -> None:
    with Credentials(None, store="memory", refresher_for=lambda key: None) as credentials:
        with pytest.raises(ConfigurationError, match="refresher_for returned None"):
            credentials["a"]
    with Credentials(None, store="memory", refresher_for=lambda key: "text") as credentials:  # type: ignore[arg-type,return-value]  # on purpose
        with pytest.raises(ConfigurationError, match="not str"):
            credentials["a"]


# --- Arguments ---


async def not_plain(key: str) -> Any:
    return never


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"refresher": None}, "there is no refresher"),
        ({"refresher": "text"}, "not str"),
        ({"store": None}, "pass one with store="),
        ({"store": "nonsense"}, "unknown store"),
        ({"refresher_for": not_plain}, "plain function"),
        ({"refresher_for": 7}, "plain function"),
        ({"profile": "nonsense"}, "unknown profile"),
        ({"max_wait": "long"}, "number of seconds"),
        ({"loop": 7}, "event loop"),
        ({"keep": 0}, "keep must be a whole number"),
        ({"keep": True}, "keep must be a whole number"),
        ({"limit": 1.5}, "limit must be a whole number"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Credentials(**{"refresher": never, "store": "memory", **arguments})


@pytest.mark.parametrize("key", ["", 7, "line\nbreak", "x" * 513, None, ["a"]])
def test_keys_that_are_none_are_refused(key: Any) -> None:
    with Credentials(never, store="memory") as credentials:
        with pytest.raises(ConfigurationError, match="printable"):
            credentials[key]
        with pytest.raises(ConfigurationError, match="printable"):
            credentials.delete(key)


def test_its_repr_names_the_store_and_nothing_else() -> None:
    assert repr(Credentials(never, store="memory")) == "Credentials(store='memory')"
    assert repr(Credentials(never, store="memory")["a"]) == "Credential('a', store='memory')"


# --- The end ---


class Closable(MemoryStore):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_store_that_was_handed_in_stays_open() -> None:
    store = Closable()
    with Credentials(never, store=store) as credentials:
        credentials["a"].close()
    assert store.closed == 0


def test_a_store_that_was_named_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr("onerefresh.stores.sqlite.SQLiteStore.close", lambda store: closed.append(store.name))
    with Credentials(never, store=f"sqlite:///{tmp_path}/tokens.db") as credentials:
        credentials["a"].close()
        assert closed == []
    assert len(closed) == 1


def test_nothing_works_after_the_end() -> None:
    credentials = Credentials(never, store="memory")
    held = credentials["a"]
    held.login(first_token())
    credentials.close()
    credentials.close()
    assert held.current() is None
    with pytest.raises(CredentialClosed):
        held.token()
    with pytest.raises(CredentialClosed):
        credentials["a"]
    with pytest.raises(CredentialClosed):
        credentials.delete("a")
    with pytest.raises(CredentialClosed):
        credentials.refresh_due(within=60, keys=["a"])


@pytest.mark.parametrize("keep", [1, 10])
def test_the_end_waits_for_renewals_whose_objects_are_gone(keep: int) -> None:
    store, refresher = MemoryStore(), Refresher(gated=True)
    credentials = Credentials(refresher, store=store, keep=keep)
    credentials["a"].login(Token("access-0", "refresh-0", issued_at=0.0, expires_at=1.0))
    flight, _ = credentials._tenant("a").renew_ahead(60.0, None)
    credentials["b"]
    refresher.wait_until_entered()
    closing = threading.Thread(target=credentials.close)
    closing.start()
    refresher.leave.set()
    closing.join()
    assert flight.settled
    assert record_of(store, "a").generation == 2


@pytest.mark.parametrize("end", [Credentials.close, lambda ours: asyncio.run(ours.aclose())])
def test_the_end_waits_for_no_renewal_of_others_that_use_the_same_store(end: Callable[[Credentials], None]) -> None:
    store, hanging = MemoryStore(), Refresher(gated=True)
    ours, theirs = Credentials(Refresher(), store=store), Credentials(hanging, store=store)
    theirs["a"].login(Token("access-0", "refresh-0", issued_at=0.0, expires_at=1.0))
    flight, _ = theirs._tenant("a").renew_ahead(60.0, None)
    hanging.wait_until_entered()
    closing = threading.Thread(target=end, args=[ours])
    closing.start()
    closing.join(PATIENCE)
    is_over = not closing.is_alive()
    hanging.leave.set()
    theirs.close()
    closing.join()
    assert is_over
    assert flight.result().token.generation == 2


def test_the_end_on_a_loop_waits_without_blocking_it(auth_server: AuthServer) -> None:
    store = MemoryStore()
    credentials = Credentials(Refresher().on_a_loop, store=store)
    credentials["a"].login(issued(auth_server, ends_in=-1.0))

    async def run() -> None:
        waiting = asyncio.create_task(credentials["a"].atoken())
        await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="blocks the event loop"):
            credentials.close()
        await credentials.aclose()
        assert (await waiting).generation == 2

    asyncio.run(run())


def test_log_in_leaves_a_record_that_says_whose_it_is(auth_server: AuthServer) -> None:
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store) as credentials:
        log_in(credentials, auth_server, "a")
    assert record_of(store, "a").owner == endpoint(auth_server).identity
