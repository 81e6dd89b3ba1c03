"""A login or a logout that the store lost, or that was made while the record was lost, is not undone by old copies."""

from __future__ import annotations

import time

import pytest
from tests.promises.helpers import PATIENCE, Kept

from onerefresh import Credential, LoginRequired, WaitTimeout
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record import Record
from onerefresh.record_text import decode
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.usefixtures("short_recovery")


def process(login: TokenEndpoint, store: Kept, token: object = None) -> Credential:
    """One more process of those that use the store."""
    return Credential("acme", login, token=token, store=Kept(beside=store))  # type: ignore[arg-type]


def record_in(store: Kept) -> Record:
    loaded = store.load("acme")
    assert loaded is not None
    return decode(loaded.body, "acme")


@pytest.mark.parametrize("knows_the_seed", [True, False])
def test_a_logout_that_found_no_record_is_not_undone(
    auth_server: AuthServer, login: TokenEndpoint, store: Kept, knows_the_seed: bool
) -> None:
    """Before, a process with ``token=`` took its first token for news, and sent it a second time."""
    first = auth_server.issue()
    holder, other = process(login, store, first), process(login, store, first if knows_the_seed else None)
    assert holder.token(refused=holder.token()).generation == other.token().generation == 2
    store.records.clear()
    other.logout()
    for _ in range(2):
        with pytest.raises(LoginRequired, match="logged out"):
            holder.token(refused=holder.current())
    assert record_in(store).is_logged_out
    assert auth_server.counters.token_requests == 1


def test_a_logout_after_a_login_that_found_no_record_is_not_undone(
    auth_server: AuthServer, login: TokenEndpoint, store: Kept
) -> None:
    holder, other = process(login, store, auth_server.issue()), process(login, store)
    assert holder.token(refused=holder.token()).generation == other.token().generation == 2
    store.records.clear()
    other.login(auth_server.issue())
    assert holder.token(refused=holder.current()).family == other.token().family
    other.logout()
    with pytest.raises(LoginRequired, match="logged out"):
        holder.token(refused=holder.current())
    assert record_in(store).is_logged_out
    assert auth_server.counters.reuse_detected == 0


def test_a_logout_here_is_not_undone_by_the_first_token_of_the_same_process(
    auth_server: AuthServer, login: TokenEndpoint, store: Kept
) -> None:
    holder = process(login, store, auth_server.issue())
    holder.token(refused=holder.token())
    holder.logout()
    store.records.clear()
    with pytest.raises(LoginRequired, match="log in again"):
        holder.token()
    assert store.records == {}
    assert auth_server.counters.token_requests == 1


@pytest.mark.parametrize("lost", ["emptied", "gone back"])
def test_a_login_comes_back_over_the_session_before_it(
    auth_server: AuthServer, login: TokenEndpoint, store: Kept, lost: str
) -> None:
    """Before, whoever knew the session before brought that one back, and the one who had logged in adopted it."""
    holder, other = process(login, store), process(login, store)
    other.login(auth_server.issue())
    assert other.token(refused=other.token()).generation == 2
    before = dict(store.records)
    holder.login(auth_server.issue())
    newest = holder.token()
    store.records.clear()
    if lost == "emptied":
        with pytest.raises(WaitTimeout):  # it brings its session back, and nothing is sent before others had their time
            other.token(refused=other.current(), max_wait=0.0)
        deadline = time.monotonic() + PATIENCE
        while "acme" not in store.records and time.monotonic() < deadline:
            time.sleep(0.005)
    else:
        store.records.update(before)
    assert holder.token(refused=newest).family == newest.family
    assert record_in(store).family == newest.family
    assert other.token(refused=other.current()).family == newest.family
    assert auth_server.counters.reuse_detected == 0


def test_a_login_of_somebody_else_is_no_loss(auth_server: AuthServer, login: TokenEndpoint, store: Kept) -> None:
    holder, other = process(login, store, auth_server.issue()), process(login, store)
    known = holder.token(refused=holder.token())
    store.records.clear()
    other.login(auth_server.issue())
    assert holder.token(refused=known).family == other.token().family != known.family
