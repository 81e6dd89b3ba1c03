"""Credentials that share a session through Redis: one refresh, little traffic, and no logout where the store fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import refresher_of
from tests.servers.relay import Relay
from tests.servers.valkey import PATIENCE, Valkey, until

from onerefresh import Credential, Credentials, StoreUnavailable, WaitTimeout, events, policy
from onerefresh.credential import watch
from onerefresh.credential.background import background_tasks
from onerefresh.events import Event, Kind
from onerefresh.record_text import decode
from onerefresh.store import HEAD_START, Store, Versioned
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile
from onerefresh.stores.redis import RedisStore
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow

CHANNEL = "onerefresh:{acme}"
LONG = 600.0


class Told:
    """The events so far."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._news = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._news:
            self._events.append(event)
            self._news.notify_all()

    def of(self, kind: Kind) -> list[Event]:
        return [event for event in self._events if event.kind is kind]

    def until(self, kind: Kind) -> Event:
        with self._news:
            assert self._news.wait_for(lambda: bool(self.of(kind)), PATIENCE), self._events
            return self.of(kind)[0]


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    unsubscribe = events.subscribe(told)
    yield told
    unsubscribe()


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was brought back is not sent for two looks: so short a time that tests need not wait for it."""
    monkeypatch.setattr(policy, "LOOK_EVERY", 0.2)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def process(auth_server: AuthServer, opened: ExitStack) -> Callable[..., Credential]:
    """A credential with a store of its own: what another process would have. `login`: it begins the session.

    (A first token with `token=` may be an old one where Redis has lost the record, and is not sent for some seconds.)
    """

    def make(
        url: str, *, login: dict[str, object] | None = None, look_every: float = LONG, **options: Any
    ) -> Credential:
        store = opened.enter_context(closing(RedisStore(url)))
        store.look_every = look_every
        made: Credential = opened.enter_context(Credential("acme", refresher_of(auth_server), store=store, **options))
        if login is not None:
            made.login(login)
        return made

    return make


def generation(store: Store) -> int:
    found = store.load("acme")
    return decode(found.body, "acme").generation if found else 0


# --- One refresh ---


def test_who_refreshed_the_last_time_has_a_head_start() -> None:
    assert RedisStore.head_start == HEAD_START > 0.0


def test_many_processes_refresh_once(
    server: Valkey, auth_server: AuthServer, process: Callable[..., Credential]
) -> None:
    first = process(server.url, login=auth_server.issue()).token()
    others = [process(server.url) for _ in range(6)]
    with ThreadPoolExecutor(24) as pool:
        tokens = list(pool.map(lambda number: others[number % 6].token(refused=first), range(24)))
    assert {token.generation for token in tokens} == {2}
    assert auth_server.counters.token_requests == 1


def looks_of(credential: Credential, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each look of its renewals at the record: on which thread. What looks in the background is left out."""
    store, looks = credential._memory.store, list[str]()
    load = store.load

    def spied(key: str) -> Versioned | None:
        thread = threading.current_thread().name
        if key == "acme" and thread != watch.NAME:
            looks.append(thread)
        return load(key)

    monkeypatch.setattr(store, "load", spied)
    return looks


class Listener:
    """Listens to a key all the time. `heard`: how often it was woken, the first time when its line listens."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key, self.heard = store, key, 0
        self._listen()

    def _listen(self) -> None:
        wakeup = self._store.subscribe(self._key, "", time.monotonic(), self._hear)
        assert wakeup is not None
        self.wakeup = wakeup

    def _hear(self) -> None:
        self._listen()
        self.heard += 1


def test_who_waits_is_woken_and_asks_nothing_meanwhile(
    server: Valkey,
    auth_server: AuthServer,
    process: Callable[..., Credential],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = process(server.url, login=auth_server.issue()).token()
    holder, waiter = process(server.url), process(server.url)
    looks, another = looks_of(waiter, monkeypatch), Listener(waiter._memory.store, "another")
    until(lambda: another.heard >= 1)
    auth_server.hold("token")
    with ThreadPoolExecutor(2) as pool:
        holds = pool.submit(holder.token, refused=first)
        auth_server.wait_for("token")
        waits = pool.submit(waiter.token, refused=first)
        told.until(Kind.WAITING)
        until(lambda: len(looks) >= 2)  # once more since its line listens
        before = another.heard
        assert server.do("PUBLISH", "onerefresh:{another}", "") == 1
        until(lambda: another.heard > before)  # on the line on which the waiting process listens
        auth_server.release("token")
        # It looks by itself only after ten minutes: it was woken.
        assert waits.result(PATIENCE).generation == holds.result(PATIENCE).generation == 2
    assert len(looks) == 3, "the third one after the commit"
    another.wakeup.end()
    until(lambda: server.do("PUBSUB", "NUMSUB", CHANNEL)[1] == 0)
    assert auth_server.counters.token_requests == 1


@pytest.mark.parametrize("how", ["line is cut", "line cannot be had", "publishing is forbidden"])
def test_a_wake_up_that_is_lost_costs_only_time(
    own_server: Valkey, auth_server: AuthServer, process: Callable[..., Credential], told: Told, how: str
) -> None:
    url, look_every = own_server.url, LONG
    if how != "line is cut":
        rules = ("reset", "on", ">pw", "~*", "+@all", "resetchannels")
        own_server.do("ACL", "SETUSER", "app", *rules, *(["-subscribe"] if "had" in how else ["&*", "-publish"]))
        url = f"redis://app:pw@{own_server.address}"
        look_every = LONG if "had" in how else 0.2
    first = process(url, login=auth_server.issue()).token()
    holder, waiter = process(url), process(url, look_every=look_every)
    auth_server.hold("token")
    with ThreadPoolExecutor(2) as pool:
        holds = pool.submit(holder.token, refused=first)
        auth_server.wait_for("token")
        waits = pool.submit(waiter.token, refused=first)
        told.until(Kind.WAITING)
        if how == "line is cut":
            until(lambda: own_server.do("PUBSUB", "NUMSUB", CHANNEL)[1] == 1)
            own_server.do("CLIENT", "KILL", "TYPE", "pubsub")
        auth_server.release("token")
        assert waits.result(PATIENCE).generation == holds.result(PATIENCE).generation == 2
    assert auth_server.counters.token_requests == 1


def test_a_fresh_token_costs_the_store_nothing(
    server: Valkey, auth_server: AuthServer, process: Callable[..., Credential]
) -> None:
    credential = process(server.url, login=auth_server.issue())
    credential.token()
    before = server.counted()
    for _ in range(1000):
        credential.token()
        credential.current()
    after = server.counted()
    assert {name: after[name] - before.get(name, 0) for name in after if name not in ("info", "client|setinfo")} == {
        name: 0 for name in after if name not in ("info", "client|setinfo")
    }
    until(lambda: server.do("PUBSUB", "CHANNELS") == [])  # that of the test before lasts a little


# --- The store fails ---


def test_nothing_is_sent_while_the_store_hangs(
    own_server: Valkey, auth_server: AuthServer, process: Callable[..., Credential]
) -> None:
    credential = process(own_server.url + "?socket_timeout=0.3", login=auth_server.issue())
    first = credential.token()
    with own_server.paused(), pytest.raises(StoreUnavailable, match="did not answer in time"):
        credential.token(refused=first)
    assert auth_server.counters.token_requests == 0
    assert credential.token(refused=first).generation == 2


def test_a_dead_store_and_a_busy_holder_are_different_errors(
    own_server: Valkey, auth_server: AuthServer, process: Callable[..., Credential]
) -> None:
    first = process(own_server.url, login=auth_server.issue()).token()
    holder, other = process(own_server.url), process(own_server.url)
    auth_server.hold("token")
    with ThreadPoolExecutor(1) as pool:
        holds = pool.submit(holder.token, refused=first)
        auth_server.wait_for("token")
        with pytest.raises(WaitTimeout):
            other.token(refused=first, max_wait=0.1)
        auth_server.release("token")
        assert holds.result(PATIENCE).generation == 2
    own_server.kill()
    third = process(own_server.url)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        third.token()
    assert auth_server.counters.token_requests == 1


def test_a_token_that_the_store_cannot_take_is_spooled_and_brought_back(
    own_server: Valkey, auth_server: AuthServer, process: Callable[..., Credential], told: Told
) -> None:
    with Relay(own_server.port) as relay:
        credential = process(f"redis://{relay.address}", login=auth_server.issue())
        first = credential.token()
        auth_server.hold("token_sent")
        with ThreadPoolExecutor(1) as pool:
            asks = pool.submit(credential.token, refused=first)
            auth_server.wait_for("token_sent")
            with relay.down():
                auth_server.release("token_sent")
                told.until(Kind.SPOOLED)
                assert asks.result(PATIENCE).generation == 2
            told.until(Kind.REFRESHED)
        with closing(RedisStore(own_server.url)) as store:
            assert generation(store) == 2
    assert auth_server.counters.token_requests == 1


@pytest.mark.parametrize("what", ["request", "answer"])
@pytest.mark.parametrize("when", ["claim", "commit"])
def test_a_claim_or_commit_whose_connection_is_lost_costs_no_session(
    server: Valkey, auth_server: AuthServer, process: Callable[..., Credential], when: str, what: str
) -> None:
    with Relay(server.port) as relay:
        credential = process(f"redis://{relay.address}", login=auth_server.issue())
        first = credential.token()
        auth_server.hold("token_sent")
        if when == "claim":
            relay.lose(what, of=b"leased")
        with ThreadPoolExecutor(1) as pool:
            asks = pool.submit(credential.token, refused=first)
            auth_server.wait_for("token_sent")
            if when == "commit":
                relay.lose(what, of=b"EVAL")
            auth_server.release("token_sent")
            assert asks.result(PATIENCE).generation == 2
        assert relay.lost == 1
        assert process(server.url).token().generation == 2
    assert auth_server.counters.token_requests == 1


@pytest.mark.usefixtures("_looks_often")
def test_a_failover_that_loses_the_last_refresh_is_repaired_by_who_made_it(
    own_server: Valkey, server: Valkey, auth_server: AuthServer, process: Callable[..., Credential], told: Told
) -> None:
    with Relay(own_server.port) as relay:
        credential = process(f"redis://{relay.address}", login=auth_server.issue())
        first = credential.token()
        server.replicates(own_server)
        until(lambda: server.do("EXISTS", CHANNEL))
        server.do("REPLICAOF", "NO", "ONE")
        second = credential.token(refused=first)
        with closing(RedisStore(server.url)) as left:
            assert (second.generation, generation(left)) == (2, 1)
            relay.lead_to(server.port)
            told.until(Kind.RESTORED)
            assert generation(left) == 2
        assert process(server.url).token().reveal() == second.reveal()
        assert process(server.url).token(refused=second).generation == 3
    assert auth_server.counters.token_requests == 2


@pytest.mark.usefixtures("_looks_often")
def test_who_asks_first_after_a_failover_repairs_what_was_lost(
    own_server: Valkey, server: Valkey, auth_server: AuthServer, process: Callable[..., Credential]
) -> None:
    with Relay(own_server.port) as relay:
        url = f"redis://{relay.address}"
        maker, reader = process(url, login=auth_server.issue()), process(url)
        first = maker.token()
        server.replicates(own_server)
        until(lambda: server.do("EXISTS", CHANNEL))
        server.do("REPLICAOF", "NO", "ONE")
        second = maker.token(refused=first)
        assert reader.token(refused=first).generation == 2
        maker.close()
        relay.lead_to(server.port)
        third = reader.token(refused=second)
        assert third.generation == 3
        with closing(RedisStore(server.url)) as left:
            assert generation(left) == 3
    assert auth_server.counters.token_requests == 2


def test_nothing_is_put_back_into_a_store_that_was_closed(server: Valkey, auth_server: AuthServer) -> None:
    def looks_to_come() -> list[object]:
        work = background_tasks._works.get(id(store))
        return [] if work is None else [*work.due]

    credentials = Credentials(refresher_of(auth_server), store=server.url)
    store = credentials._store
    token = credentials["acme"].login(auth_server.issue())
    credentials["acme"].token(refused=token)
    until(looks_to_come)
    [job] = [work.thread for place, work in background_tasks._works.items() if place == id(store)]
    credentials.close()
    assert job is not None
    assert job.over.wait(10.0)
    assert looks_to_come() == []


# --- What is said ---


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_store_that_is_not_durable_is_named_once_where_the_server_rotates(
    own_server: Valkey, auth_server: AuthServer, told: Told, tmp_path: Path, *, durable: bool, encrypted: bool
) -> None:
    own_server.do("CONFIG", "SET", "appendonly", "yes")
    with closing(RedisStore(own_server.url, durable=durable)) as plain:
        store: Store = EncryptedStore(plain, KeyFile(tmp_path / "acme.key")) if encrypted else plain
        with Credential("acme", refresher_of(auth_server), store=store) as credential:
            token = credential.login(auth_server.issue())
            for _ in range(3):
                token = credential.token(refused=token)
    if not durable:
        told.until(Kind.NOT_DURABLE)  # it is said behind the caller's back
    said = told.of(Kind.NOT_DURABLE)
    assert len(said) == (0 if durable else 1)
    for event in said:
        assert "durable=True" in event.detail
        assert "memory" not in event.detail


def test_the_server_writes_no_part_of_a_token_into_its_log_of_slow_commands(
    own_server: Valkey, auth_server: AuthServer
) -> None:
    own_server.do("CONFIG", "SET", "slowlog-log-slower-than", 0)
    acme = Credential("acme", refresher_of(auth_server), store=RedisStore(own_server.url))
    acme.login(auth_server.issue())
    acme.close()
    logged = [entry["command"] for entry in own_server.client(decode_responses=False).slowlog_get(100)]
    assert any(b'"families"' in command for command in logged), "the write is in it"
    assert not any(b"access_token" in command for command in logged)
