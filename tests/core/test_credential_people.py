"""Credential: login, logout, status and close, and what is said once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import (
    PATIENCE,
    Refresher,
    expired,
    first_token,
    listening,
    outcomes,
    until_renewals_are_over,
)

from onerefresh import (
    Credential,
    CredentialClosed,
    LoginRequired,
    RefreshUnavailable,
    Token,
)
from onerefresh.events import Event, Kind, subscribe
from onerefresh.store import Versioned
from onerefresh.stores.memory import MemoryStore

# --- Login, logout, status, close ---


def test_a_login_replaces_the_session_and_heals_a_dead_one() -> None:
    refresher = Refresher()
    refresher.failure = LoginRequired("revoked")
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(LoginRequired):
        credential.token()
    token = credential.login({"access_token": "access-new", "refresh_token": "refresh-new", "expires_in": 3600})
    assert credential.token() == token
    assert token.reveal() == "access-new"
    assert credential.status().state == "idle"


@pytest.mark.seconds
def test_a_login_elsewhere_heals_those_who_were_told_that_the_session_is_over() -> None:
    refresher = Refresher()
    refresher.failure = LoginRequired("revoked")
    store = MemoryStore()
    here = Credential("acme", refresher, token=expired(), store=store)
    with pytest.raises(LoginRequired):
        here.token()
    elsewhere = MemoryStoreFace(store)
    Credential("acme", refresher, store=elsewhere).login({"access_token": "access-new"})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert here.token().reveal() == "access-new"
            return
        except LoginRequired:
            assert time.monotonic() < deadline


@pytest.mark.seconds
def test_a_logout_elsewhere_is_not_undone_when_the_store_loses_the_record() -> None:
    store = MemoryStore()
    elsewhere = Credential("acme", Refresher(), token=first_token(), store=MemoryStoreFace(store))
    here = Credential("acme", Refresher(), store=store)
    elsewhere.token()
    token = here.token()
    elsewhere.logout()
    with pytest.raises(LoginRequired, match="logged out"):
        here.token(refused=token)
    store._records.clear()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with pytest.raises(LoginRequired) as caught:
            here.token()
        if "there is no token yet" in str(caught.value):
            return
    raise AssertionError("it was not looked up again")


class MemoryStoreFace(MemoryStore):
    """Another object for the same records: what another process would have."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self._store = store

    def load(self, key: str) -> Versioned | None:
        return self._store.load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        return self._store.cas(key, expected, body)


def test_a_logout_stays_a_logout_though_the_seed_is_still_there() -> None:
    store = MemoryStore()
    credential = Credential("acme", Refresher(), token=first_token(), store=store)
    credential.logout()
    assert credential.current() is None
    with pytest.raises(LoginRequired, match="logged out"):
        credential.token()
    with pytest.raises(LoginRequired, match="logged out"):
        Credential("acme", Refresher(), token=first_token(), store=store).token()


def test_a_login_stands_though_its_session_dies_and_the_seed_before_it_was_never_used(tmp_path: Path) -> None:
    refresher = Refresher()
    refresher.failure = LoginRequired("revoked")
    with Credential("acme", refresher, token=first_token(), store=f"sqlite:///{tmp_path}/tokens.db") as credential:
        token = credential.login({"access_token": "access-new", "refresh_token": "refresh-new", "expires_in": 3600})
        for _ in range(2):
            with pytest.raises(LoginRequired, match="revoked"):
                credential.token(refused=token)
    assert [token.reveal() for token in refresher.given] == ["access-new"]


def test_a_refresh_under_way_does_not_undo_a_logout() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    waiting = threading.Thread(target=lambda: outcomes([credential.token]))
    waiting.start()
    refresher.wait_until_entered()
    credential.logout()
    refresher.leave.set()
    waiting.join(PATIENCE)
    assert credential.current() is None
    with pytest.raises(LoginRequired):
        credential.token()


def held_after_the_commit(credential: Credential) -> tuple[threading.Event, threading.Event, Any]:
    """The renewal stops right after its commit, before its token is in memory."""
    committed, go_on = threading.Event(), threading.Event()

    def hook(event: Event) -> None:
        if event.kind is Kind.REFRESHED and event.credential == credential.key:
            committed.set()
            go_on.wait(PATIENCE)

    return committed, go_on, subscribe(hook)


def test_a_refresh_that_was_committed_right_before_a_logout_does_not_come_back_into_memory() -> None:
    credential = Credential("acme", Refresher(), token=expired())
    committed, go_on, unsubscribe = held_after_the_commit(credential)
    waiting = threading.Thread(target=lambda: outcomes([credential.token]))
    waiting.start()
    assert committed.wait(PATIENCE)
    credential.logout()
    go_on.set()
    waiting.join(PATIENCE)
    unsubscribe()
    assert credential.current() is None


def test_a_refresh_that_was_committed_right_before_a_login_does_not_replace_it() -> None:
    credential = Credential("acme", Refresher(), token=expired())
    committed, go_on, unsubscribe = held_after_the_commit(credential)
    waiting = threading.Thread(target=lambda: outcomes([credential.token]))
    waiting.start()
    assert committed.wait(PATIENCE)
    credential.login({"access_token": "access-new"})
    go_on.set()
    waiting.join(PATIENCE)
    unsubscribe()
    assert credential.bearer() == "access-new"


def test_a_refresh_under_way_does_not_undo_a_login_and_its_waiters_get_the_new_session() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(outcomes([credential.token])))
    waiting.start()
    refresher.wait_until_entered()
    credential.login({"access_token": "access-new"})
    refresher.leave.set()
    waiting.join(PATIENCE)
    assert [token.reveal() for token in got] == ["access-new"]
    assert credential.bearer() == "access-new"


def test_the_status_tells_what_is_known_and_no_secret() -> None:
    refresher = Refresher()
    refresher.failure = RefreshUnavailable("down", retry_after=60.0)
    credential = Credential("acme", refresher, token={**expired(), "scope": "read write"})
    with pytest.raises(RefreshUnavailable):
        credential.token()
    status = credential.status()
    assert (status.key, status.state, status.generation) == ("acme", "idle", 1)
    assert (status.refreshable, status.scope, status.failure) == (True, "read write", "down")
    assert 0.0 < status.retry_after <= 60.0
    assert "access-0" not in repr(status)
    assert "refresh-0" not in repr(status)


def test_the_status_of_an_unknown_name_is_empty() -> None:
    assert Credential("acme", Refresher()).status().state == "empty"


def test_closing_waits_for_the_refresh_and_refuses_what_comes_after() -> None:
    refresher = Refresher(gated=True)
    store = MemoryStore()
    credential = Credential("acme", refresher, token=expired(), store=store)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.extend(outcomes([credential.token])))
    waiting.start()
    refresher.wait_until_entered()
    closing = threading.Thread(target=credential.close)
    closing.start()
    refresher.leave.set()
    closing.join(PATIENCE)
    waiting.join(PATIENCE)
    assert [token.generation for token in got] == [2]
    with pytest.raises(CredentialClosed):
        credential.token()
    assert credential.current() is None
    assert Credential("acme", refresher, store=store).token().generation == 2


@pytest.mark.parametrize("ask", ["login", "logout", "status"])
def test_a_closed_credential_refuses_people_too(ask: str) -> None:
    credential = Credential("acme", Refresher(), token=first_token())
    credential.close()
    with pytest.raises(CredentialClosed):
        getattr(credential, ask)(*([first_token()] if ask == "login" else []))


def test_a_credential_closes_at_the_end_of_its_block() -> None:
    with Credential("acme", Refresher(), token=first_token()) as credential:
        assert credential.bearer() == "access-0"
    with pytest.raises(CredentialClosed):
        credential.bearer()


# --- Said once ---


def test_a_rotating_server_with_a_store_that_forgets_is_said_once() -> None:
    credential = Credential("acme", Refresher(), token=first_token())
    with listening() as heard:
        for _ in range(2):
            credential.replayed(token := credential.token(refused=credential.token()), accepted=True)
        assert token.generation == 3
        until_renewals_are_over()  # the callers go on before it is reported
    assert [event.kind for event in heard].count(Kind.NOT_DURABLE) == 1


def test_another_seed_than_the_store_holds_is_said_once() -> None:
    store = MemoryStore()
    first = Credential("acme", Refresher(), token=expired(), store=store)
    first.token()
    with listening() as heard:
        other = Credential("acme", Refresher(), token=first_token(refresh_token="another"), store=store)
        other.token(refused=other.token())
        other.token(refused=Token("access-0"))
    assert [event.kind for event in heard].count(Kind.SEED_IGNORED) == 1
    assert first.token() == other.token()
