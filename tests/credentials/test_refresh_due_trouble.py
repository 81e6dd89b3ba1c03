"""refresh_due in trouble: nothing stops the others, and nothing goes to a foreign endpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token
from tests.credentials.tenants import (
    DUE,
    PATIENCE,
    Face,
    endpoint,
    expired,
    generations,
    log_in,
    record_of,
    until,
)

from onerefresh import (
    ClientRejected,
    ConfigurationError,
    Credential,
    Credentials,
    LoginRequired,
    Token,
)
from onerefresh.credentials import Summary
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record import State
from onerefresh.store import Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer

# --- Trouble ---


def test_a_dead_session_is_counted_and_left_alone(auth_server: AuthServer) -> None:
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store) as credentials:
        log_in(credentials, auth_server, "alive", "dead", **DUE)
        auth_server.revoke_family(credentials["dead"].token().reveal())
        first = credentials.refresh_due(within=600)
        assert (first.refreshed, first.needs_login, first.failed) == (1, 1, 0)
        assert [type(error) for error in first.errors] == [LoginRequired]
        assert first.errors[0].credential == "dead"
        assert record_of(store, "dead").state is State.DEAD
        again = credentials.refresh_due(within=600)
        assert (again.refreshed, again.needs_login) == (0, 1)
    assert auth_server.counters.token_requests == 2


def test_a_session_that_ends_after_its_token_is_counted(auth_server: AuthServer) -> None:
    """Nothing serves any more: the flight itself fails, and not only what the record says of it."""
    with Credentials(endpoint(auth_server), store=MemoryStore()) as credentials:
        expired(credentials, auth_server, "dead")
        auth_server.fail_next(status=400, body='{"error": "invalid_grant"}')
        summary = credentials.refresh_due(within=600)
    assert (summary.needs_login, summary.failed) == (1, 0)
    assert [type(error) for error in summary.errors] == [LoginRequired]


def test_a_client_that_is_rejected_after_the_token_has_ended_is_counted(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store=MemoryStore()) as credentials:
        expired(credentials, auth_server, "a")
        auth_server.fail_next(status=401, body='{"error": "invalid_client"}')
        summary = credentials.refresh_due(within=600)
    assert (summary.needs_login, summary.failed) == (0, 1)
    assert [type(error) for error in summary.errors] == [ClientRejected]


def test_a_doubtful_session_is_counted_and_not_asked_before_its_pause_is_over(auth_server: AuthServer) -> None:
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store) as credentials:
        log_in(credentials, auth_server, "doubtful", **DUE)
        auth_server.fail_next(status=401, body="")
        for _ in range(2):
            summary = credentials.refresh_due(within=600)
            assert (summary.needs_login, summary.failed) == (1, 0)
            error = summary.errors[0]
            assert isinstance(error, LoginRequired)
            assert not error.proven
        assert auth_server.counters.token_requests == 1
        assert credentials["doubtful"].retry().generation == 2
        assert credentials.refresh_due(within=600).needs_login == 0


def test_a_failure_stops_none_of_the_others_and_is_remembered(new_auth_server: Callable[..., AuthServer]) -> None:
    failing, other = new_auth_server(), new_auth_server(client_id="other")
    failing.fail_next(None, status=503, headers={"Retry-After": "60"})
    server_of = {"a": failing, "b": other, "c": failing}
    with Credentials(None, store="memory", refresher_for=lambda key: endpoint(server_of[key])) as credentials:
        for key, server in server_of.items():
            log_in(credentials, server, key, **DUE)
        first = credentials.refresh_due(within=600)
        assert (first.refreshed, first.failed) == (1, 2)
        assert {(type(error).__name__, error.credential) for error in first.errors} == {
            ("RefreshUnavailable", "a"),
            ("RefreshUnavailable", "c"),
        }
        asked = failing.counters.token_requests
        assert credentials.refresh_due(within=600).failed == 2
        assert failing.counters.token_requests == asked


def test_a_record_that_cannot_be_read_is_counted(auth_server: AuthServer) -> None:
    store = MemoryStore()
    store.cas("damaged", None, "no record")
    with Credentials(endpoint(auth_server), store=store) as credentials:
        log_in(credentials, auth_server, "a", **DUE)
        summary = credentials.refresh_due(within=600)
    assert (summary.looked_at, summary.refreshed, summary.unreadable) == (2, 1, 1)
    assert [error.credential for error in summary.errors] == ["damaged"]


def test_a_logged_out_tenant_is_none_of_its_business(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        log_in(credentials, auth_server, "a", "b", **DUE)
        credentials["a"].logout()
        credentials.delete("b")
        assert credentials.refresh_due(within=600) == Summary(looked_at=2)


def test_one_that_takes_too_long_goes_on_alone(auth_server: AuthServer) -> None:
    auth_server.hold("token")
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store, max_wait=0.2) as credentials:
        log_in(credentials, auth_server, "a", **DUE)
        summary = credentials.refresh_due(within=600)
        assert (summary.refreshed, [type(error).__name__ for error in summary.errors]) == (0, ["WaitTimeout"])
        flight = credentials._tenant("a")._memory.flying
        assert flight is not None
        auth_server.release("token")
        assert flight.wait(PATIENCE)
    assert generations(store, "a") == [2]


def test_a_renewal_that_its_own_caller_has_begun_is_joined(auth_server: AuthServer) -> None:
    auth_server.hold("token")
    with Credentials(endpoint(auth_server), store="memory") as credentials, ThreadPoolExecutor() as pool:
        expired(credentials, auth_server, "a")
        waiting = pool.submit(credentials["a"].token)
        auth_server.wait_for("token")
        run = pool.submit(credentials.refresh_due, within=600)
        auth_server.release("token")
        assert waiting.result(PATIENCE).generation == 2
        summary = run.result(PATIENCE)
    assert (summary.refreshed, summary.failed) == (0, 0)
    assert auth_server.counters.token_requests == 1


class SlowOnce(MemoryStore):
    """The first look of a renewal takes until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.leave = threading.Event(), threading.Event()

    def load(self, key: str) -> Versioned | None:
        found = super().load(key)
        if key == "a" and found is not None and not self.entered.is_set():
            self.entered.set()
            self.leave.wait(PATIENCE)
        return found


def test_a_first_read_under_way_does_not_count_for_a_renewal(auth_server: AuthServer) -> None:
    store = SlowOnce()
    with Credentials(endpoint(auth_server), store=Face(store)) as writer:
        log_in(writer, auth_server, "a", **DUE)
    store.entered.clear()
    with Credentials(endpoint(auth_server), store=store) as credentials, ThreadPoolExecutor() as pool:
        reading = pool.submit(credentials["a"].token)
        assert store.entered.wait(PATIENCE)
        flight = credentials._tenant("a")._memory.flying
        assert flight is not None
        run = pool.submit(credentials.refresh_due, within=600)
        until(lambda: flight._wakers, "it does not join the flight")
        store.leave.set()
        assert reading.result(PATIENCE).generation == 1
        assert run.result(PATIENCE) == Summary(looked_at=1, refreshed=1)


# --- Whose they are ---


def test_the_records_of_another_refresher_are_left_alone(new_auth_server: Callable[..., AuthServer]) -> None:
    ours, foreign = new_auth_server(), new_auth_server(client_id="other")
    store = MemoryStore()
    with Credentials(endpoint(foreign), store=store) as others:
        log_in(others, foreign, "foreign", **DUE)
    Credential("by hand", Refresher(), token=first_token(expires_at=1_000_000_000), store=store)
    with Credentials(endpoint(ours), store=store) as credentials:
        log_in(credentials, ours, "ours", **DUE)
        assert credentials.refresh_due(within=600) == Summary(looked_at=3, others=2, refreshed=1)
    assert foreign.counters.token_requests == 0


def test_without_an_identity_the_keys_are_to_be_named() -> None:
    refresher = Refresher()
    with Credentials(refresher, store="memory") as credentials:
        credentials["a"].login(first_token(expires_at=1_000_000_000))
        with pytest.raises(ConfigurationError, match="keys="):
            credentials.refresh_due(within=600)
        assert refresher.calls == 0
        assert credentials.refresh_due(within=600, keys=["a"]) == Summary(looked_at=1, refreshed=1)


def test_a_tenants_own_refresher_without_an_identity_gets_nothing_by_a_scan() -> None:
    refresher = Refresher()
    with Credentials(None, store="memory", refresher_for=lambda key: refresher) as credentials:
        credentials["a"].login(first_token(expires_at=1_000_000_000))
        summary = credentials.refresh_due(within=600)
        assert (summary.failed, [type(error) for error in summary.errors]) == (1, [ConfigurationError])
        assert refresher.calls == 0


def test_a_tenant_that_refresher_for_does_not_know_is_another_kinds(auth_server: AuthServer) -> None:
    known = {"a": endpoint(auth_server)}
    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store) as all_of_them:
        log_in(all_of_them, auth_server, "a", "b", **DUE)
    with Credentials(None, store=store, refresher_for=known.__getitem__) as credentials:
        assert credentials.refresh_due(within=600) == Summary(looked_at=2, others=1, refreshed=1)
        named = credentials.refresh_due(within=600, keys=["b"])
        assert (named.failed, [type(error).__name__ for error in named.errors]) == (1, ["RefresherFailed"])


def test_a_refresher_for_that_raises_stops_none_of_the_others(auth_server: AuthServer) -> None:
    def refresher_for(key: str) -> Any:
        if key == "broken":
            raise RuntimeError("the database is down")
        return endpoint(auth_server)

    store = MemoryStore()
    with Credentials(endpoint(auth_server), store=store) as writer:
        log_in(writer, auth_server, "a", "broken", **DUE)
    with Credentials(None, store=store, refresher_for=refresher_for) as credentials:
        summary = credentials.refresh_due(within=600)
    assert (summary.refreshed, summary.failed) == (1, 1), summary
    assert isinstance(summary.errors[0].__cause__, RuntimeError)


class Odd:
    """A refresher of one tenant, whose own settings cannot be read when its host is asked for."""

    def __init__(self, common: TokenEndpoint) -> None:
        self._common, self.identity = common, common.identity

    @property
    def host(self) -> str:
        raise KeyError("no settings")

    def __call__(self, token: Token) -> Any:
        return self._common(token)


def test_a_refresher_that_cannot_say_its_host_stops_none_of_the_others(auth_server: AuthServer) -> None:
    common, store = endpoint(auth_server), MemoryStore()
    with Credentials(common, store=store) as writer:
        log_in(writer, auth_server, "a", "odd", "z", **DUE)
    with Credentials(common, store=store, refresher_for=lambda key: Odd(common) if key == "odd" else None) as tenants:
        for keys in (None, ["odd"]):
            summary = tenants.refresh_due(within=600, keys=keys)
            assert (summary.refreshed, summary.failed) == (0 if keys else 2, 1), summary
            assert summary.errors[0].credential == "odd"
            assert isinstance(summary.errors[0].__cause__, KeyError)


def test_named_keys_that_are_missing_or_logged_out_need_a_login(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        log_in(credentials, auth_server, "a", "out", **DUE)
        credentials["out"].logout()
        summary = credentials.refresh_due(within=600, keys=iter(["a", "out", "missing", "a"]))
    assert (summary.looked_at, summary.refreshed, summary.needs_login) == (4, 1, 2)
    assert auth_server.counters.token_requests == 1


def test_a_named_key_that_is_none_stops_none_of_the_others(auth_server: AuthServer) -> None:
    keys: list[Any] = ["x" * 513, "a", 7]
    with Credentials(endpoint(auth_server), store="memory") as credentials:
        log_in(credentials, auth_server, "a", **DUE)
        summary = credentials.refresh_due(within=600, keys=keys)
    assert (summary.refreshed, [type(error) for error in summary.errors]) == (1, [ConfigurationError] * 2)


class Broken(MemoryStore):
    """Reads all but one record."""

    def load(self, key: str) -> Versioned | None:
        if key == "broken":
            raise OSError("a bad sector")
        return super().load(key)


def test_a_record_that_a_store_fails_to_read_stops_none_of_the_others(auth_server: AuthServer) -> None:
    with Credentials(endpoint(auth_server), store=Broken()) as credentials:
        log_in(credentials, auth_server, "a", **DUE)
        summary = credentials.refresh_due(within=600, keys=["broken", "a"])
    assert (summary.refreshed, summary.unreadable) == (1, 1)
    assert isinstance(summary.errors[0].__cause__, OSError)


def test_a_named_key_gets_its_first_token_where_that_takes_no_person(auth_server: AuthServer) -> None:
    machine = endpoint(auth_server, grant="client_credentials", send=lambda request: answer())

    def answer() -> Any:
        from onerefresh.oauth2.codec import TokenResponse

        return TokenResponse(200, {}, b'{"access_token": "first", "expires_in": 3600}')

    store = MemoryStore()
    with Credentials(machine, store=store) as credentials:
        assert credentials.refresh_due(within=600, keys=["a"]) == Summary(looked_at=1, refreshed=1)
        assert credentials["a"].token().reveal() == "first"
