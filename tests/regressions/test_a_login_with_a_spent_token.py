"""A login with a row that is old costs no session: workers called `login` with it when they started, and the spent
refresh token took the place of the living one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token, in_threads, listening, of_another_process, outcomes, refresher_of

from onerefresh import ConfigurationError, Credential, Credentials, LoginRequired, Token
from onerefresh.events import Kind
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer

Row = dict[str, object]
WAYS_OUT = "token= or token_for="


def row_of(token: Token) -> Row:
    """What a host keeps of a token in a table of its own."""
    return {"access_token": token.reveal(), "refresh_token": token.reveal_refresh_token()}


def refreshed(credential: Credential, times: int = 1) -> Token:
    """The token that its API makes it fetch, after it has accepted the one before."""
    token = credential.token()
    for _ in range(times):
        credential.replayed(token, accepted=True)
        token = credential.token(refused=token)
    return token


def body(store: MemoryStore) -> str:
    found = store.load("acme")
    assert found is not None
    return found.body


def refused(login: Callable[[], object]) -> ConfigurationError:
    with listening() as heard, pytest.raises(ConfigurationError, match="already spent") as caught:
        login()
    assert not {Kind.LOGGED_IN, Kind.LOGGED_OUT} & {event.kind for event in heard}
    assert WAYS_OUT in caught.value.message
    assert caught.value.credential == "acme"
    return caught.value


@pytest.mark.parametrize("age", [1, 2, 3])
def test_two_workers_and_an_old_row(auth_server: AuthServer, age: int) -> None:
    store, first = MemoryStore(), auth_server.issue()
    one = Credential("acme", refresher_of(auth_server), store=store)
    other = Credential("acme", refresher_of(auth_server), store=of_another_process(store))
    one.login(first)
    rows = [first, *(row_of(refreshed(one)) for _ in range(3))]
    before = body(store)
    error = refused(lambda: other.login(rows[3 - age]))
    assert body(store) == before
    for row in rows[:3]:
        assert str(row["refresh_token"]) not in str(error)
    assert refreshed(other).generation == 5
    assert (auth_server.session, auth_server.counters.reuse_detected) == ("alive", 0)


def test_in_async_code(auth_server: AuthServer) -> None:
    first, acme = auth_server.issue(), Credential("acme", refresher_of(auth_server))

    async def logs_in_twice() -> None:
        await acme.atoken(refused=await acme.alogin(first))
        with pytest.raises(ConfigurationError, match="already spent"):
            await acme.alogin(first)

    asyncio.run(logs_in_twice())
    assert auth_server.session == "alive"


def test_many_credentials(auth_server: AuthServer) -> None:
    store, first = MemoryStore(), auth_server.issue()
    with Credentials(refresher_of(auth_server), store=store) as customers:
        customers["acme"].login(first)
        refreshed(customers["acme"])
        refused(lambda: customers["acme"].login(first))


def test_the_row_of_a_session_before_this_one(auth_server: AuthServer) -> None:
    first, acme = auth_server.issue(), Credential("acme", refresher_of(auth_server))
    acme.login(first)
    refreshed(acme)
    present = acme.login(auth_server.issue())
    refused(lambda: acme.login(first))
    assert acme.token().identity == present.identity


def test_the_row_of_a_session_before_this_one_that_was_never_refreshed(auth_server: AuthServer) -> None:
    first, acme = auth_server.issue(), Credential("acme", refresher_of(auth_server))
    acme.login(first)
    acme.login(auth_server.issue())
    assert acme.login(first).reveal() == first["access_token"]
    assert refreshed(acme).reveal() != first["access_token"]


@pytest.mark.parametrize("profile", ["strict", "grace:30"])
def test_the_row_that_is_present_changes_nothing(auth_server: AuthServer, profile: str) -> None:
    store, first = MemoryStore(), auth_server.issue()
    workers = [
        Credential("acme", refresher_of(auth_server), store=of_another_process(store), profile=profile)
        for _ in range(8)
    ]
    tokens = in_threads([partial(each.login, first) for each in workers])
    assert {token.generation for token in tokens} == {1}
    before = body(store)
    with listening() as heard:
        again = workers[0].login(first)
    assert (again.generation, body(store)) == (1, before)
    assert not {Kind.LOGGED_IN, Kind.LOGGED_OUT} & {event.kind for event in heard}
    row = row_of(refreshed(workers[1]))
    before = body(store)
    assert workers[2].login(row).generation == 2
    assert body(store) == before


def test_a_newer_answer_with_the_same_refresh_token_is_a_login() -> None:
    acme = Credential("acme", Refresher())
    acme.login(first_token())
    assert acme.login(first_token(access_token="access-newer")).reveal() == "access-newer"
    assert acme.token().reveal() == "access-newer"


def test_while_its_refresh_is_under_way_it_changes_nothing() -> None:
    store, refresher = MemoryStore(), Refresher(gated=True)
    one = Credential("acme", refresher, store=store, token=first_token(expires_at=1_000_000_000))
    other = Credential("acme", Refresher(), store=of_another_process(store))

    def login() -> Token:
        refresher.wait_until_entered()
        try:
            return other.login(first_token(expires_at=1_000_000_000))
        finally:
            refresher.leave.set()

    newer, same = in_threads([one.token, login])
    assert (same.generation, newer.generation) == (1, 2)
    assert other.token().identity == newer.identity


@pytest.mark.parametrize("profile", ["static", "google"])
def test_a_server_that_does_not_rotate_is_served_as_before(profile: str) -> None:
    acme = Credential("acme", Refresher(), profile=profile)
    acme.login(first_token())
    second = row_of(refreshed(acme))
    refreshed(acme)
    assert acme.login(second).reveal() == second["access_token"]


def test_a_session_that_is_over_is_not_begun_again_with_it(auth_server: AuthServer) -> None:
    store, first = MemoryStore(), auth_server.issue()
    acme = Credential("acme", refresher_of(auth_server), store=store)
    acme.login(first)
    refreshed(acme)
    auth_server.revoke_family()
    with pytest.raises(LoginRequired):
        refreshed(acme)
    before = body(store)
    refused(lambda: acme.login(first))
    assert body(store) == before
    assert acme.login(auth_server.issue()).generation == 3


def test_nor_after_a_logout(auth_server: AuthServer) -> None:
    first, acme = auth_server.issue(), Credential("acme", refresher_of(auth_server))
    acme.login(first)
    second = row_of(refreshed(acme))
    refreshed(acme)
    acme.logout()
    for row in (first, second):
        refused(partial(acme.login, row))
    with pytest.raises(LoginRequired, match="logged out"):
        acme.token()


@pytest.mark.parametrize("ends", ["dead", "logged out"])
def test_a_seed_that_is_spent_begins_no_session(auth_server: AuthServer, ends: str) -> None:
    """A seed is a login where no session is in use."""
    store, acme = MemoryStore(), auth_server.issue()
    one = Credential("acme", refresher_of(auth_server), store=store)
    one.login(acme)
    second = row_of(refreshed(one))
    refreshed(one)
    if ends == "dead":
        auth_server.revoke_family()
        with pytest.raises(LoginRequired):
            refreshed(one)
    else:
        one.logout()
    sent = auth_server.counters.token_requests
    other = Credential("acme", refresher_of(auth_server), store=of_another_process(store), token=second)
    before = body(store)
    with pytest.raises(LoginRequired):
        other.token()
    assert (body(store), auth_server.counters.token_requests) == (before, sent)


def test_where_the_host_saves(auth_server: AuthServer) -> None:
    """Each object of a name has a record of its own there, and the process knows what the others have spent."""
    kept: list[Token] = []
    first = auth_server.issue()
    one = Credential("acme", refresher_of(auth_server), save=kept.append, token=first)
    refreshed(one)
    other = Credential("acme", refresher_of(auth_server), save=kept.append)
    refused(lambda: other.login(first))
    assert refreshed(one).generation == 3
    assert auth_server.counters.reuse_detected == 0


def test_where_the_store_has_lost_the_record(auth_server: AuthServer) -> None:
    store, first = MemoryStore(), auth_server.issue()
    acme = Credential("acme", refresher_of(auth_server), store=store)
    acme.login(first)
    refreshed(acme)
    store._records.clear()
    refused(lambda: acme.login(first))
    assert refreshed(acme).generation == 3
    assert auth_server.counters.reuse_detected == 0


def test_two_first_logins_at_once_and_one_that_is_late(auth_server: AuthServer) -> None:
    """One row, three workers: two begin, one of them refreshes, and the third is told."""
    store, first = MemoryStore(), auth_server.issue()
    workers = [Credential("acme", refresher_of(auth_server), store=of_another_process(store)) for _ in range(3)]
    in_threads([partial(each.login, first) for each in workers[:2]])
    refreshed(workers[0])
    results: list[Any] = outcomes([lambda: workers[2].login(first)])
    assert isinstance(results[0], ConfigurationError)
    assert [workers[number].token().generation for number in (0, 2)] == [2, 2]
