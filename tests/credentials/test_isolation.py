"""One tenant's endpoint never delays another's; at one host only so many renewals are under way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token, listening
from tests.core.children import Child
from tests.credentials.tenants import PATIENCE, Face, endpoint, expired, record_of, until

from onerefresh import Credentials, LoginRequired, RefreshUnavailable, Token, WaitTimeout, host_limiter
from onerefresh.events import Kind
from onerefresh.hiring import MOST_HELD_UP, SIZE
from onerefresh.host_limiter import MOST_SLOW, Slot
from onerefresh.record import State
from onerefresh.store import AdvisoryLock, Versioned
from onerefresh.store_reads import AT_ONCE
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer


def queueing(credentials: Credentials) -> int:
    """How many renewals wait for their turn."""
    turns = credentials._options.turns
    assert turns is not None
    return sum(len(queue.waiting) for queue in turns._queues.values())


def test_a_hanging_endpoint_delays_nobody_else(new_auth_server: Callable[..., AuthServer]) -> None:
    hanging, other = new_auth_server(), new_auth_server()
    hanging.hold("token")
    server_of = {"a": hanging, "b": other}
    with Credentials(None, store="memory", refresher_for=lambda key: endpoint(server_of[key])) as credentials:
        for key, server in server_of.items():
            expired(credentials, server, key)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(credentials["a"].token)
            hanging.wait_for("token")
            assert credentials["b"].token().generation == 2
            assert not waiting.done()
            with pytest.raises(WaitTimeout):
                credentials["a"].token(max_wait=0.0)
            hanging.release("token")
            assert waiting.result(PATIENCE).generation == 2


def test_a_failing_endpoint_fails_nobody_else(new_auth_server: Callable[..., AuthServer]) -> None:
    failing, other = new_auth_server(), new_auth_server()
    failing.fail_next(None, status=503, headers={"Retry-After": "60"})
    server_of = {"a": failing, "b": other}
    with Credentials(None, store="memory", refresher_for=lambda key: endpoint(server_of[key])) as credentials:
        for key, server in server_of.items():
            expired(credentials, server, key)
        with pytest.raises(RefreshUnavailable):
            credentials["a"].token()
        assert credentials["b"].token().generation == 2


def test_a_turn_whose_wake_up_is_lost_is_taken_all_the_same(
    auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt between the two cost it, where the system had no thread to spare: the next one waited for ever."""
    monkeypatch.setattr(host_limiter, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(Slot, "wakes", lambda self, wake: None)
    auth_server.hold("token")
    with Credentials(endpoint(auth_server), store="memory", limit=1) as credentials, ThreadPoolExecutor() as pool:
        for key in "ab":
            expired(credentials, auth_server, key)
        waiting = [pool.submit(credentials[key].token) for key in "ab"]
        until(lambda: queueing(credentials) == 1, "the second one does not queue")
        auth_server.release("token")
        assert [one.result(PATIENCE).generation for one in waiting] == [2, 2]


def test_only_so_many_renewals_are_at_one_host_and_the_next_has_claimed_nothing(auth_server: AuthServer) -> None:
    auth_server.hold("token")
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store, limit=2) as credentials:
        expired(credentials, auth_server, *"abc")
        with ThreadPoolExecutor() as pool:
            first = [pool.submit(credentials[key].token) for key in "ab"]
            auth_server.wait_for("token", 2)
            third = pool.submit(credentials["c"].token)
            until(lambda: queueing(credentials) == 1, "it does not wait for its turn")
            assert [record_of(store, key).state for key in "abc"] == [State.LEASED, State.LEASED, State.IDLE]
            auth_server.release("token", 1)
            auth_server.wait_for("token", 3)
            auth_server.release("token")
            assert {found.result(PATIENCE).generation for found in (*first, third)} == {2}
    assert auth_server.counters.token_requests == 3


def test_a_queue_at_one_host_delays_no_other_host(new_auth_server: Callable[..., AuthServer]) -> None:
    hanging, other = new_auth_server(), new_auth_server()
    hanging.hold("token")
    server_of = {"a": hanging, "b": hanging, "c": other}
    with Credentials(None, store="memory", refresher_for=lambda key: endpoint(server_of[key]), limit=1) as credentials:
        for key, server in server_of.items():
            expired(credentials, server, key)
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(credentials[key].token) for key in "ab"]
            until(lambda: queueing(credentials) == 1, "nobody waits for a turn")
            assert credentials["c"].token().generation == 2
            hanging.release("token")
            assert {found.result(PATIENCE).generation for found in waiting} == {2}


def test_without_a_limit_all_are_at_the_host(auth_server: AuthServer) -> None:
    auth_server.hold("token")
    keys = [f"tenant-{number}" for number in range(20)]
    with Credentials(endpoint(auth_server), store="memory", limit=None) as credentials:
        expired(credentials, auth_server, *keys)
        with ThreadPoolExecutor(len(keys)) as pool:
            waiting = [pool.submit(credentials[key].token) for key in keys]
            auth_server.wait_for("token", len(keys))
            auth_server.release("token")
            assert {found.result(PATIENCE).generation for found in waiting} == {2}


class Held:
    """A blocking function that states no host. `arrived`: how many calls are in it; they leave once `leave` is set."""

    def __init__(self) -> None:
        self.arrived, self.leave = threading.Semaphore(0), threading.Event()

    def __call__(self, token: Any) -> dict[str, object]:
        self.arrived.release()
        assert self.leave.wait(PATIENCE)
        return first_token()

    def has(self, count: int) -> bool:
        return all(self.arrived.acquire(timeout=PATIENCE) for _ in range(count))


@pytest.mark.seconds
def test_a_blocking_function_that_hangs_takes_no_thread_from_another_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """It states no host, and took all threads there are: another provider's customers were never asked for."""
    monkeypatch.setattr(host_limiter, "SLOW_AT_FIRST", 0.2)
    hanging, count, limit = Held(), SIZE + MOST_HELD_UP + 10, 4

    def healthy(token: Any) -> dict[str, object]:
        return first_token()

    with Credentials(
        None, store="memory", refresher_for=lambda key: healthy if key == "healthy" else hanging, limit=limit
    ) as credentials:
        keys = [f"hangs-{number}" for number in range(count)]
        for key in (*keys, "healthy"):
            credentials[key].login(first_token(expires_at=1_000_000_000))
        try:
            for key in keys:
                with pytest.raises(WaitTimeout):
                    credentials[key].token(max_wait=0.0)
            assert hanging.has(limit * (1 + MOST_SLOW)), "those that are slow make room for so many others"
            assert credentials["healthy"].token().reveal() == "access-0"
            assert not hanging.arrived.acquire(timeout=0.0), "there were more"
        finally:
            hanging.leave.set()


@pytest.mark.seconds
def test_an_async_function_without_a_loop_of_its_callers_takes_no_thread_from_another_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets a loop of its own, which holds a thread."""
    monkeypatch.setattr(host_limiter, "SLOW_AT_FIRST", 0.2)
    hanging, count, limit = Held(), SIZE + MOST_HELD_UP + 10, 4

    async def hangs(token: Any) -> dict[str, object]:
        hanging.arrived.release()
        while not hanging.leave.is_set():
            await asyncio.sleep(0.01)
        return first_token()

    healthy = Refresher()
    with Credentials(hangs, store="memory", limit=limit) as theirs, Credentials(healthy, store="memory") as ours:
        keys = [f"hangs-{number}" for number in range(count)]
        ours["healthy"].login(first_token(expires_at=1_000_000_000))
        for key in keys:
            theirs[key].login(first_token(expires_at=1_000_000_000))
        try:
            for key in keys:
                with pytest.raises(WaitTimeout):
                    theirs[key].token(max_wait=0.0)
            assert hanging.has(limit * (1 + MOST_SLOW))
            assert ours["healthy"].token(max_wait=PATIENCE).generation == 2
            assert not hanging.arrived.acquire(timeout=0.0), "there were more"
        finally:
            hanging.leave.set()


class Hangs(MemoryStore):
    """A store whose reads hang. `arrived`: how many are in it; they leave once `leave` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived, self.leave = threading.Semaphore(0), threading.Event()

    def load(self, key: str) -> Versioned | None:
        self.arrived.release()
        assert self.leave.wait(PATIENCE)
        return super().load(key)


@pytest.mark.seconds
def test_a_store_that_hangs_takes_no_thread_from_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took all threads there are: the customers of another database were never refreshed."""
    monkeypatch.setattr(host_limiter, "SLOW_AT_FIRST", 0.2)
    hanging, refresher = Hangs(), Refresher()
    with Credentials(refresher, store=hanging) as theirs, Credentials(refresher, store="memory") as ours:
        ours["healthy"].login(first_token(expires_at=1_000_000_000))
        try:
            for number in range(SIZE + MOST_HELD_UP + 10):
                with pytest.raises(WaitTimeout):
                    theirs[f"hangs-{number}"].token(max_wait=0.0)
            most = AT_ONCE * (1 + MOST_SLOW)
            assert all(hanging.arrived.acquire(timeout=PATIENCE) for _ in range(most)), "slow ones make room"
            assert ours["healthy"].token().generation == 2
            assert not hanging.arrived.acquire(timeout=0.0), "there were more"
        finally:
            hanging.leave.set()
    assert refresher.calls == 1


@pytest.mark.seconds
def test_two_stores_that_hang_leave_threads_to_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each took less than all threads there are, and both together took all."""
    monkeypatch.setattr(host_limiter, "SLOW_AT_FIRST", 0.2)
    stores, refresher = [Hangs(), Hangs()], Refresher()
    with (
        Credentials(refresher, store=stores[0]) as first,
        Credentials(refresher, store=stores[1]) as second,
        Credentials(refresher, store="memory") as ours,
    ):
        ours["healthy"].login(first_token(expires_at=1_000_000_000))
        try:
            for theirs in (first, second):
                for number in range(SIZE + MOST_HELD_UP + 10):
                    with pytest.raises(WaitTimeout):
                        theirs[f"hangs-{number}"].token(max_wait=0.0)
            held = host_limiter.MOST_BEYOND + 2 * AT_ONCE
            count = 0
            while count < held:
                count += sum(store.arrived.acquire(timeout=0.01) for store in stores)
            assert ours["healthy"].token(max_wait=PATIENCE / 2).generation == 2
            assert not any(store.arrived.acquire(timeout=0.0) for store in stores), "there were more"
        finally:
            for store in stores:
                store.leave.set()
    assert refresher.calls == 1


class HoldsRevocations(Held):
    """A refresher whose server does not answer revocations."""

    identity = "one whose revocations hang"

    def revoke(self, token: Token) -> None:
        super().__call__(token)


@pytest.mark.seconds
def test_revocations_that_hang_take_no_thread_from_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever deletes a thousand customers of one provider stopped the refreshes of all others."""
    monkeypatch.setattr(host_limiter, "SLOW_AT_FIRST", 0.2)
    hanging, healthy, limit = HoldsRevocations(), Refresher(), 4
    with Credentials(hanging, store="memory", limit=limit) as theirs, Credentials(healthy, store="memory") as ours:
        ours["healthy"].login(first_token(expires_at=1_000_000_000))
        keys = [f"deleted-{number}" for number in range(SIZE + MOST_HELD_UP + 10)]
        for key in keys:
            theirs[key].login(first_token())
        try:
            deletions = [theirs._tenant_that_is_gone(key).delete() for key in keys]
            assert hanging.has(limit * (1 + MOST_SLOW)), "those that are slow make room for so many others"
            assert ours["healthy"].token().generation == 2
            assert not hanging.arrived.acquire(timeout=0.0), "there were more"
        finally:
            hanging.leave.set()
        assert all(deletion.wait(PATIENCE) for deletion in deletions)
        assert {deletion.result().revocation for deletion in deletions} == {"revoked"}
        assert {record_of(theirs._store, key).state for key in keys} == {State.EMPTY}


@pytest.mark.parametrize("how", ["logout", "delete"])
def test_a_revocation_that_hangs_keeps_no_token_in_use(how: str) -> None:
    """It may have to wait long for its turn. Its session is over before, and a login that follows stays."""
    hanging = HoldsRevocations()
    with Credentials(hanging, store="memory") as credentials, ThreadPoolExecutor(1) as pool:
        acme = credentials["acme"]
        acme.login(first_token())
        ending = pool.submit(acme.logout) if how == "logout" else pool.submit(credentials.delete, "acme")
        try:
            assert hanging.has(1)
            with pytest.raises(LoginRequired):
                credentials["acme"].token()
            credentials["acme"].login(first_token(access_token="new", refresh_token="new refresh"))
            known = acme._memory.known
        finally:
            hanging.leave.set()
        assert ending.result(PATIENCE).revocation == "revoked"
        assert acme._memory.known is known, "the end of the revocation forgot the new session"
        assert credentials["acme"].token().reveal() == "new"


def test_functions_of_one_name_count_as_one_and_async_ones_are_not_limited() -> None:
    held = [Held() for _ in "abc"]
    of = dict(zip("abc", held, strict=True))
    with Credentials(None, store="memory", refresher_for=of.get, limit=1) as credentials, ThreadPoolExecutor() as pool:
        for key in "abc":
            credentials[key].login(first_token(expires_at=1_000_000_000))
        waiting = [pool.submit(credentials[key].token) for key in "abc"]
        until(lambda: queueing(credentials) == 2, "all of them are let in")
        for one in held:
            one.leave.set()
        assert {found.result(PATIENCE).reveal() for found in waiting} == {"access-0"}

    async def together() -> list[Token]:
        inside, leave = 0, asyncio.Event()

        async def refresh(token: Token) -> dict[str, object]:
            nonlocal inside
            inside += 1
            if inside == 3:
                leave.set()
            await asyncio.wait_for(leave.wait(), PATIENCE)
            return first_token()

        async with Credentials(refresh, store="memory", limit=1) as credentials:
            for key in "abc":
                await credentials[key].alogin(first_token(expires_at=1_000_000_000))
            return await asyncio.gather(*(credentials[key].atoken() for key in "abc"))

    assert [token.generation for token in asyncio.run(together())] == [2, 2, 2]


class Hosted(Refresher):
    host = "login.example:443"


def test_who_waits_for_another_process_keeps_no_turn() -> None:
    """Two processes at one record: the one that waits for the other's attempt lets its own next tenant through."""
    store = MemoryStore()
    elsewhere, here = Hosted(gated=True), Hosted()
    one = Credentials(elsewhere, store=store)
    two = Credentials(here, store=Face(store), limit=1)
    for key in "ab":
        one[key].login(first_token(expires_at=1_000_000_000))
    with ThreadPoolExecutor() as pool, listening() as heard:
        first = pool.submit(one["a"].token)
        elsewhere.wait_until_entered()
        waiting = pool.submit(two["a"].token)
        until(lambda: Kind.WAITING in [event.kind for event in heard], "it does not wait for the other's attempt")
        assert two["b"].token().reveal() == "access-1"
        elsewhere.leave.set()
        assert first.result(PATIENCE).reveal() == waiting.result(PATIENCE).reveal() == "access-1"
    assert (elsewhere.calls, here.calls) == (1, 1)
    one.close()
    two.close()


class HeldElsewhere(MemoryStore):
    """Another process has the hold of `a`, and has claimed nothing yet."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.free = threading.Event(), threading.Event()

    def hold(self, key: str) -> AdvisoryLock | None:
        return None if key == "a" and not self.free.is_set() else AdvisoryLock()

    def wait(self, key: str, version: str, timeout: float) -> None:
        self.waiting.set()
        self.free.wait(PATIENCE)


def test_who_waits_for_another_process_to_claim_keeps_no_turn() -> None:
    store, refresher = HeldElsewhere(), Hosted()
    with Credentials(refresher, store=store, limit=1) as credentials, ThreadPoolExecutor() as pool:
        for key in "ab":
            credentials[key].login(first_token(expires_at=1_000_000_000))
        waiting = pool.submit(credentials["a"].token)
        assert store.waiting.wait(PATIENCE)
        assert credentials["b"].token().generation == 2
        assert not waiting.done()
        store.free.set()
        assert waiting.result(PATIENCE).generation == 2


def test_a_login_by_the_refresher_itself_takes_its_turn_too() -> None:
    refresher = Obtaining()
    with Credentials(refresher, store="memory", limit=1) as credentials, ThreadPoolExecutor() as pool:
        logins = [pool.submit(credentials[key].login) for key in "abc"]
        assert refresher.entered.acquire(timeout=PATIENCE)
        until(lambda: queueing(credentials) == 2, "they do not wait for their turn")
        refresher.leave.set()
        assert {login.result(PATIENCE).reveal() for login in logins} == {"access-0"}
    assert refresher.most == 1


class Obtaining:
    """Gets first tokens without a person. `most`: how many at once there were."""

    host = "login.example:443"

    def __init__(self) -> None:
        self.entered, self.leave = threading.Semaphore(0), threading.Event()
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, token: Token) -> dict[str, object]:
        return self.obtain()

    def obtain(self) -> dict[str, object]:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        self.leave.wait(PATIENCE)
        with self._lock:
            self.inside -= 1
        return first_token()


@pytest.mark.slow
def test_the_interpreter_ends_although_somebody_waits_for_a_turn() -> None:
    class Script(Child):
        scripts = "tests.credentials.scripts"

    with Script("exit_in_the_queue") as child:
        assert child.rest() == ["a is sent", "the main thread ends", "b has left the queue", "a is refreshed"]
        assert child.wait() == 0
