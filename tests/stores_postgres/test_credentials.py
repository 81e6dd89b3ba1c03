"""Credentials on a PostgreSQL store, with a strict authorization server: one refresh, whatever happens to the store."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.core.calls import PATIENCE
from tests.core.children import Child
from tests.core.leaks import assert_error_is_silent
from tests.servers.postgres import PostgresServer
from tests.servers.relay import Relay
from tests.stores_postgres.watching import listeners, until

from onerefresh import Credential, StoreUnavailable, Token, WaitTimeout
from onerefresh.events import Event, Kind, subscribe
from onerefresh.record_text import decode
from onerefresh.store import Store
from onerefresh.stores.postgres import PostgresStore
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """What happened in this process."""
    seen: list[Event] = []
    unsubscribe = subscribe(seen.append)
    yield seen
    unsubscribe()


def refresher(server: AuthServer) -> Callable[[Token], dict[str, object]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def refresh(token: Token) -> dict[str, object]:
        body = json.dumps({"refresh_token": token.reveal_refresh_token()}).encode()
        request = urllib.request.Request(server.json_refresh_url, body, {"Content-Type": "application/json"})
        with opener.open(request, timeout=30) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    return refresh


def credential(server: AuthServer, store: Store) -> Credential:
    return Credential("acme", refresher(server), token=expired(server), store=store, max_wait=PATIENCE)


def expired(server: AuthServer) -> dict[str, object]:
    """The answer of a login, of a long time ago."""
    answer = server.issue()
    del answer["expires_in"]
    return {**answer, "expires_at": 1_000_000_000}


def stored(store: Store) -> int:
    """The generation that the store holds."""
    found = store.load("acme")
    assert found is not None
    return decode(found.body, "acme").generation


class Children(Child):
    scripts = "tests.stores_postgres"


def test_of_two_processes_one_refreshes_and_the_other_is_woken(
    server: PostgresServer, table: str, store: PostgresStore, auth_server: AuthServer
) -> None:
    acme = Credential("acme", refresher(auth_server), store=store)
    acme.login(expired(auth_server))
    auth_server.hold("token_sent")
    options = {"store": server.url, "table": table, "url": auth_server.json_refresh_url}
    with Children("worker", **options) as first, Children("worker", **options) as second:
        for child in (first, second):
            assert child.line().startswith("ready")
        first.tell("token")
        auth_server.wait_for("token_sent")
        second.tell("token")
        until(lambda: listeners(server, store) == 1)
        auth_server.release("token_sent")
        assert first.line() == second.line() == "generation 2"
    assert auth_server.counters.token_requests == 1


def test_nothing_is_sent_while_the_store_cannot_save(
    relay: Relay, through: PostgresStore, auth_server: AuthServer
) -> None:
    acme = credential(auth_server, through)
    with relay.down():
        with pytest.raises(StoreUnavailable) as caught:
            acme.token()
        assert_error_is_silent(caught.value)
    assert auth_server.counters.token_requests == 0
    assert acme.token().generation == 2
    acme.close()


def test_a_dead_store_is_another_error_than_a_busy_holder(
    relay: Relay, through: PostgresStore, store: PostgresStore, auth_server: AuthServer
) -> None:
    holder = credential(auth_server, store)
    auth_server.hold("token_sent")
    thread = threading.Thread(target=holder.token)
    thread.start()
    auth_server.wait_for("token_sent")
    waiter = Credential("acme", refresher(auth_server), store=through)
    with pytest.raises(WaitTimeout):
        waiter.token(max_wait=0.2)
    with relay.down(), pytest.raises(StoreUnavailable):
        waiter.token(max_wait=PATIENCE)
    auth_server.release("token_sent")
    thread.join()
    assert waiter.token().generation == 2
    assert auth_server.counters.token_requests == 1
    for one in (holder, waiter):
        one.close()


def test_the_spool_keeps_the_token_when_the_store_is_gone_after_the_request(
    relay: Relay, through: PostgresStore, auth_server: AuthServer, events: list[Event]
) -> None:
    acme = credential(auth_server, through)
    auth_server.hold("token_sent")
    with ExitStack() as stack:
        thread = threading.Thread(target=acme.token)
        thread.start()
        auth_server.wait_for("token_sent")
        stack.enter_context(relay.down())
        auth_server.release("token_sent")
        thread.join()  # it has its token
        assert acme.token().generation == 2
        assert Kind.SPOOLED in [event.kind for event in events]
        assert stored_directly(through, relay) == 1
    until(lambda: stored(through) == 2)
    acme.close()
    assert auth_server.counters.token_requests == 1


def stored_directly(through: PostgresStore, relay: Relay) -> int:
    url = f"postgresql://postgres@127.0.0.1:{relay.target}/postgres"
    return stored(PostgresStore(url, table=through._statements.table))


@pytest.mark.long
@pytest.mark.slow
def test_a_server_that_hangs_costs_no_session(
    own_server: PostgresServer, auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch, events: list[Event]
) -> None:
    monkeypatch.setattr("onerefresh.stores.postgres.connections.PATIENCE", 0.3)
    store = PostgresStore(f"{own_server.url}?connect_timeout=2")
    acme = credential(auth_server, store)
    store.make_table()
    with own_server.frozen():
        with pytest.raises(StoreUnavailable):
            acme.token()
    assert auth_server.counters.token_requests == 0
    auth_server.hold("token_sent")
    thread = threading.Thread(target=acme.token)
    thread.start()
    auth_server.wait_for("token_sent")
    with own_server.frozen():  # the token must be saved, and cannot be
        auth_server.release("token_sent")
        thread.join()
        assert Kind.SPOOLED in [event.kind for event in events]
    until(lambda: stored(store) == 2)
    assert acme.token().generation == 2
    acme.close()
    assert auth_server.counters.token_requests == 1


@pytest.mark.long
@pytest.mark.slow
def test_a_server_that_is_killed_between_two_refreshes_costs_no_session(
    own_server: PostgresServer, auth_server: AuthServer
) -> None:
    store = PostgresStore(own_server.url)
    acme = credential(auth_server, store)
    for turn in (1, 2):
        acme.login(expired(auth_server))
        own_server.restart()
        assert acme.token().generation == stored(store) == 2 * turn
    acme.close()
    assert auth_server.counters.token_requests == 2


@pytest.mark.long
@pytest.mark.slow
def test_a_failover_to_a_standby_without_the_last_write_is_repaired_by_who_made_it(
    own_server: PostgresServer, auth_server: AuthServer, events: list[Event]
) -> None:
    with own_server.standby() as standby:
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{own_server.port}"
        store = PostgresStore(f"postgresql://postgres@{hosts}/postgres")
        lagging = PostgresStore(f"{standby.url}?target_session_attrs=any")
        with pytest.raises(StoreUnavailable, match="may lag behind"):
            lagging.load("acme")  # although there is no table yet
        acme = Credential("acme", refresher(auth_server), store=store)
        acme.login(expired(auth_server))
        assert store.may_go_back, "it saw that a standby follows"
        with pytest.raises(StoreUnavailable, match="may lag behind"):
            lagging.load("acme")
        standby.catch_up(own_server)
        standby.cut_off()
        assert acme.token().generation == stored(store) == 2
        own_server.kill()
        standby.promote()
        until(lambda: stored_or_nothing(store) == 2)  # it looks again by itself, before anybody asks
        until(lambda: Kind.RESTORED in [event.kind for event in events])
        other = Credential("acme", refresher(auth_server), store=PostgresStore(standby.url))
        assert other.token().generation == 2
        assert refresher(auth_server)(other.token())["access_token"], "the session lives"
        for one in (acme, other):
            one.close()
    counters = auth_server.counters
    assert (counters.token_requests, counters.reuse_detected) == (2, 0)


def stored_or_nothing(store: Store) -> int:
    try:
        return stored(store)
    except StoreUnavailable:
        return 0


# --- Forks in the middle of a refresh ---


@pytest.mark.slow
@pytest.mark.parametrize("refused", ["no", "yes"])
def test_a_forked_child_waits_for_the_parents_refresh(server: PostgresServer, refused: str) -> None:
    server.ask("DROP TABLE IF EXISTS onerefresh_records")
    with Child("fork_in_flight", store=server.url, refused=refused) as parent:
        lines = parent.rest()
        assert parent.wait() == 0
    assert sorted(lines[1:]) == [
        "refreshed by the parent",
        "the child got the parent's token of generation 2",
        "the parent got generation 2",
    ]


@pytest.mark.slow
def test_children_that_are_forked_at_any_moment_get_a_token(server: PostgresServer) -> None:
    server.ask("DROP TABLE IF EXISTS onerefresh_records")
    with Child("fork_often", store=server.url) as parent:
        assert parent.rest() == ["40 of 40"]
        assert parent.wait() == 0


@pytest.mark.parametrize("body", [b"\xff", b"", b"\x00", b"[[[["], ids=repr)
def test_a_login_replaces_what_is_no_record(
    postgres_server: PostgresServer, store: PostgresStore, table: str, body: bytes
) -> None:
    """Bytes that are no text raised UnicodeDecodeError, and no login or logout could write over them."""
    store.cas("acme", None, "body")
    acts: list[Callable[[Credential], object]] = [
        lambda acme: acme.login({"access_token": "a", "expires_in": 3600}),
        lambda acme: acme.logout(),
    ]
    for act in acts:
        postgres_server.ask(f"UPDATE {table} SET body = %b", body)
        with Credential("acme", lambda token: {}, store=store) as acme:
            with pytest.raises(StoreUnavailable, match=r"damaged.*log in again to replace it"):
                acme.status()
            act(acme)
            assert acme.status().generation in (1, 2)  # 2 where this process still knows the login
