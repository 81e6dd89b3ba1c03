"""Customers' first tokens, from a function over the host's own table: `token_for`.

It may read a database. So it is called with the first use, on a thread of the library, as other functions of the host.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token
from tests.core.leaks import REFRESH, assert_error_is_silent, chain
from tests.credentials.tenants import PATIENCE, Face, endpoint, issued, record_of, until

from onerefresh import ConfigurationError, Credentials, LoginRequired, RefresherFailed, Token, WaitTimeout, host_limiter
from onerefresh.chance import CHANCE
from onerefresh.host_limiter import MOST_SLOW
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer

OLD = {"access_token": "old", "refresh_token": "old refresh", "expires_at": 1_000_000_000}


class Table:
    """A host's table. A lookup waits at a gate until `leave` is set; `hanging`: the keys of which it does so."""

    def __init__(self, answer: object = OLD, *, hanging: Callable[[str], bool] = lambda _: False) -> None:
        self.answer, self.hanging = answer, hanging
        self.asked: list[str] = []
        self.threads: set[int] = set()
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self, key: str) -> Any:
        self.asked.append(key)
        self.threads.add(threading.get_ident())
        self.entered.set()
        if self.hanging(key) and not self.leave.wait(PATIENCE):
            raise AssertionError("the gate was never opened")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


# --- Where and when it is called ---


def test_a_lookup_that_takes_long_does_not_hold_up_the_event_loop() -> None:
    table, turns = Table(hanging=lambda _: True), 0

    async def main() -> None:
        nonlocal turns
        with Credentials(Refresher(), store="memory", token_for=table) as credentials:
            calls = [asyncio.ensure_future(credentials[name].atoken()) for name in ("a", "b")]
            while len(table.asked) < 2:
                await asyncio.sleep(0.001)
                turns += 1
            table.leave.set()
            assert {token.generation for token in await asyncio.gather(*calls)} == {2}
        assert threading.get_ident() not in table.threads

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert turns > 0


def test_a_credential_that_is_only_named_or_looked_at_is_not_looked_up() -> None:
    table = Table()
    with Credentials(Refresher(), store="memory", token_for=table) as credentials:
        customers = [credentials[str(number)] for number in range(100)]
        assert customers[0].current() is None
        assert not customers[0].status().generation
        assert not table.asked
        assert customers[1].token().generation == 2
        assert table.asked == ["1"]


@pytest.mark.parametrize("callers", [1, 20])
def test_all_callers_of_a_customer_share_one_lookup(callers: int) -> None:
    table, refresher = Table(hanging=lambda _: True), Refresher()
    with (
        Credentials(refresher, store="memory", token_for=table) as credentials,
        ThreadPoolExecutor(callers) as pool,
    ):
        waiting = [pool.submit(credentials["acme"].token) for _ in range(callers)]
        assert table.entered.wait(PATIENCE)
        assert credentials["acme"].current() is None  # meanwhile
        table.leave.set()
        assert {found.result(PATIENCE).reveal() for found in waiting} == {"access-1"}
        credentials["acme"].token()
    assert (table.asked, refresher.calls) == (["acme"], 1)


def test_a_lookup_that_hangs_ends_no_caller_s_patience() -> None:
    table = Table(hanging=lambda _: True)
    with Credentials(Refresher(), store="memory", token_for=table) as credentials:
        with pytest.raises(WaitTimeout, match="its first token is being looked up, and token_for has not returned"):
            credentials["acme"].token(max_wait=0.05)
        table.leave.set()
        assert credentials["acme"].token().generation == 2
    assert table.asked == ["acme"]


@pytest.mark.seconds
def test_lookups_that_hang_leave_threads_to_others() -> None:
    table, others = Table(hanging=lambda _: True), Refresher()
    with (
        Credentials(Refresher(), store="memory", token_for=table, limit=3) as hanging,
        Credentials(others, store="memory", token_for=lambda _: OLD) as healthy,
        ThreadPoolExecutor(40) as pool,
    ):
        waiting = [pool.submit(hanging[str(number)].token) for number in range(40)]
        until(lambda: len(table.asked) == 3, "three are looked up")
        assert {healthy[str(number)].token().generation for number in range(20)} == {2}
        with pytest.raises(WaitTimeout, match=r"looked up after those of \d+ others, and nothing was sent yet"):
            hanging["39"].token(max_wait=0.01)
        assert others.calls == 20
        table.leave.set()
        assert {found.result(PATIENCE).generation for found in waiting} == {2}
    assert sorted(table.asked) == sorted(map(str, range(40)))


def test_lookups_that_need_another_credential_do_not_wait_for_the_turns_that_they_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A function that asks a service of one's own, with a credential of the same kind, held up all customers."""
    monkeypatch.setattr(host_limiter, "SLOW_AT_FIRST", 0.01)
    keys = [f"customer-{number}" for number in range(1 + MOST_SLOW)]  # more are not looked up at the same time
    inside = threading.Barrier(len(keys))

    def ask(key: str) -> dict[str, object]:
        if key != "service":
            inside.wait(PATIENCE)
            assert customers["service"].token().generation == 1
        return first_token(refresh_token=f"refresh of {key}")

    with (
        Credentials(Refresher(), store="memory", token_for=ask, limit=1, max_wait=PATIENCE) as customers,
        ThreadPoolExecutor(len(keys)) as pool,
    ):
        found = [pool.submit(customers[key].token) for key in keys]
        assert [one.result(PATIENCE).generation for one in found] == [1] * len(keys)


# --- What it gives ---


def test_a_first_token_begins_a_session_and_never_overwrites_one(auth_server: AuthServer) -> None:
    """Two workers read the same old row, at any time: neither ends the session that has gone on from it."""
    store, asked = MemoryStore(), list[str]()
    rows = {"acme": issued(auth_server, ends_in=-1.0)}

    def first(key: str) -> Any:
        asked.append(key)
        return rows.get(key)

    workers = [Credentials(endpoint(auth_server), store=Face(store), token_for=first) for _ in range(2)]
    assert workers[0]["acme"].token().generation == 2
    assert workers[1]["acme"].token().generation == 2
    assert asked == ["acme", "acme"]  # once in each process
    with pytest.raises(LoginRequired):
        workers[0]["nobody"].token()
    for worker in workers:
        worker.close()
    assert auth_server.counters.reuse_detected == 0
    assert record_of(store, "acme").generation == 2


def test_a_refresh_ahead_of_time_begins_sessions_with_them(auth_server: AuthServer) -> None:
    rows = {name: issued(auth_server, ends_in=-1.0) for name in ("a", "b")}
    with Credentials(endpoint(auth_server), store="memory", token_for=rows.get) as credentials:
        summary = credentials.refresh_due(within=600, keys=["a", "b", "c"])
    assert (summary.refreshed, summary.needs_login) == (2, 1)


@pytest.mark.parametrize("act", ["logout", "login"])
def test_the_first_use_may_be_a_command(act: str) -> None:
    """A row that was there before a logout begins no session afterwards, and one from before a login is no news."""
    refresher = Refresher()
    with Credentials(refresher, store="memory", token_for=Table()) as credentials:
        if act == "logout":
            credentials["acme"].logout()
            with pytest.raises(LoginRequired, match="logged out"):
                credentials["acme"].token()
        else:
            credentials["acme"].login(first_token())
            assert credentials["acme"].token().generation == 1
    assert refresher.calls == 0


def test_each_customer_s_own_refresher_reads_the_row() -> None:
    class Reading(Refresher):
        def answer_of(self, row: dict[str, str]) -> dict[str, object]:
            return {"access_token": row["theirs"], "expires_in": 3600}

    with Credentials(
        Refresher(),
        refresher_for={"acme": Reading()}.get,
        store="memory",
        token_for=lambda key: {"theirs": "from the row"} if key == "acme" else OLD,
    ) as credentials:
        assert credentials["acme"].token().reveal() == "from the row"
        assert credentials["other"].token().reveal() == "access-1"


# --- What goes wrong in it ---


def test_what_it_raises_is_the_cause_and_the_next_call_asks_again() -> None:
    table = Table(LookupError("no such row"))
    with Credentials(Refresher(), store="memory", token_for=table) as credentials:
        with pytest.raises(RefresherFailed, match="token_for raised LookupError; see the cause") as caught:
            credentials["acme"].token()
        assert any(isinstance(error, LookupError) for error in chain(caught.value))
        assert caught.value.credential == "acme"
        table.answer = OLD
        assert credentials["acme"].token().generation == 2
    assert table.asked == ["acme", "acme"]


def test_a_row_that_cannot_be_read_keeps_no_other_tenant_from_being_refreshed(auth_server: AuthServer) -> None:
    rows = {name: issued(auth_server, ends_in=-1.0) for name in ("a", "b")}
    with Credentials(endpoint(auth_server), store="memory", token_for=lambda key: rows[key]) as credentials:
        summary = credentials.refresh_due(within=600, keys=["a", "damaged", "b"])
    assert (summary.refreshed, summary.failed) == (2, 1)
    (error,) = summary.errors
    assert error.message == "token_for raised KeyError; see the cause"
    assert any(isinstance(link, KeyError) for link in chain(error))


@pytest.mark.seconds
def test_a_lookup_that_hangs_keeps_no_run_over_many_from_its_end(
    auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it say anything of the token endpoint's host, whose other tenants go on."""
    monkeypatch.setattr(CHANCE, "shuffle", lambda _: None)  # those that hang come first
    table = Table(hanging=lambda key: key.startswith("hangs"))
    hanging, others = [f"hangs {number}" for number in range(4)], [f"tenant {number}" for number in range(4)]
    with Credentials(endpoint(auth_server), store="memory", token_for=table, max_wait=1.0) as credentials:
        for name in others:
            credentials[name].login(issued(auth_server, ends_in=-1.0))
        summary = credentials.refresh_due(within=600, keys=[*hanging, *others])
        table.leave.set()
    assert (summary.refreshed, summary.failed, summary.postponed) == (4, 4, 0)
    assert {type(error) for error in summary.errors} == {WaitTimeout}
    assert "its first token is being looked up, and token_for has not returned" in summary.errors[0].message


def test_a_run_over_many_looks_each_first_token_up_once(auth_server: AuthServer) -> None:
    asked = list[str]()

    def first(key: str) -> Any:
        asked.append(key)
        return issued(auth_server, ends_in=-1.0) if key != "nobody" else None

    with Credentials(endpoint(auth_server), store="memory", token_for=first) as credentials:
        summary = credentials.refresh_due(within=600, keys=["a", "nobody", "b"])
    assert (summary.refreshed, summary.needs_login, sorted(asked)) == (2, 1, ["a", "b", "nobody"])


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_thread_there_leaves_no_caller_waiting(ends: type[BaseException]) -> None:
    def first(key: str) -> Any:
        raise ends

    with (
        Credentials(Refresher(), store="memory", token_for=first) as credentials,
        pytest.raises(RefresherFailed, match=f"token_for raised {ends.__name__}"),
    ):
        credentials["acme"].token()


def test_what_is_no_token_is_an_error_that_shows_nothing() -> None:
    with Credentials(Refresher(), store="memory", token_for=lambda _: {"refresh": [REFRESH]}) as credentials:
        with pytest.raises(ConfigurationError, match="token_for: ") as caught:
            credentials["acme"].token()
        assert_error_is_silent(caught.value)


def test_one_that_asks_for_the_credential_itself_does_not_wait_for_ever() -> None:
    def first(key: str) -> Any:
        return credentials[key].token()

    with Credentials(Refresher(), store="memory", token_for=first) as credentials:
        with pytest.raises(ConfigurationError, match="asked its own credential for a token"):
            credentials["acme"].token()


def test_it_is_a_plain_function() -> None:
    async def first(key: str) -> Any:
        return first_token()

    for wrong in (first, "acme"):
        with pytest.raises(ConfigurationError, match="token_for must be a plain function"):
            Credentials(Refresher(), store="memory", token_for=wrong)  # type: ignore[arg-type]  # what is tested


# --- Several objects over one store ---


def test_a_failed_lookup_is_an_error_for_those_alone_who_need_it() -> None:
    """Another object has the same store and a table of its own, or none."""
    store = MemoryStore()
    table = Table(LookupError("no such row"), hanging=lambda _: True)
    with (
        Credentials(Refresher(), store=store, token_for=table) as failing,
        Credentials(Refresher(), store=store) as healthy,
        ThreadPoolExecutor(2) as pool,
    ):
        record = healthy["acme"].login(Token("old", "old refresh", expires_at=1.0))
        mine = pool.submit(failing["acme"].token)
        assert table.entered.wait(PATIENCE)
        theirs = pool.submit(healthy["acme"].token)
        until(lambda: len(healthy["acme"]._memory.flying._waiting) == 2 or theirs.done(), "both wait")  # type: ignore[union-attr]  # it flies
        table.leave.set()
        with pytest.raises(RefresherFailed, match="token_for raised LookupError"):
            mine.result(PATIENCE)
        assert theirs.result(PATIENCE).generation == record.generation + 1
        assert healthy["acme"].current() is not None


def test_a_run_over_all_customers_and_a_call_share_one_lookup() -> None:
    table = Table(hanging=lambda _: True)
    with (
        Credentials(Refresher(), store="memory", token_for=table) as credentials,
        ThreadPoolExecutor(2) as pool,
    ):
        tenant = credentials._tenant("acme")
        flight, _ = tenant.renew_ahead(600.0, None)
        assert table.entered.wait(PATIENCE)
        waiting = pool.submit(tenant.token)
        until(lambda: flight.has_waiters, "it waits for that one")
        table.leave.set()
        assert waiting.result(PATIENCE).generation == 2
    assert table.asked == ["acme"]


def test_the_end_waits_for_a_renewal_that_compares_a_first_token_with_another_one_s_session() -> None:
    """It is apart from the renewal of all callers. The store would be closed under it."""
    table, store = Table(hanging=lambda _: True), MemoryStore()
    with Credentials(Refresher(), store=store) as others, ThreadPoolExecutor(2) as pool:
        others["acme"].login(first_token())
        ours = Credentials(Refresher(), store=store, token_for=table)
        waiting = pool.submit(ours["acme"].token)
        assert table.entered.wait(PATIENCE)
        memory = ours["acme"]._memory
        considering = memory.considering
        assert considering is not None
        assert considering in ours._shut()
        assert considering not in others._shut()
        ending = pool.submit(ours.close)
        table.leave.set()
        assert waiting.result(PATIENCE).generation == 1
        ending.result(PATIENCE)
        assert memory.considering is None, "it is kept for as long as the credential is"
