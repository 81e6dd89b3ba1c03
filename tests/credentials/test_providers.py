"""One `Credentials` for several providers: each refresher states what its server does, and how much it bears."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.core.calls import Refresher, first_token
from tests.core.leaks import REFRESH, assert_error_is_silent
from tests.credentials.tenants import PATIENCE, Face, endpoint, expired, issued, record_of, until

from onerefresh import ConfigurationError, Credential, Credentials, LoginRequired, Profile
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer


class Stating(Refresher):
    def __init__(self, profile: object) -> None:
        super().__init__()
        self.profile = profile


# --- The profile ---


@pytest.mark.parametrize(
    ("stated", "given", "name"),
    [
        (None, None, "strict"),
        ("okta", None, "okta"),
        (Profile("theirs", grace=7.0), None, "theirs"),
        ("okta", "strict", "strict"),  # what the program says counts
        (object(), None, "strict"),  # a mock would state anything
    ],
)
def test_where_the_profile_comes_from(stated: object, given: str | None, name: str) -> None:
    alone = Credential("acme", Stating(stated), profile=given)
    with Credentials(Stating(stated), store="memory", profile=given) as credentials:
        assert alone._options.profile.name == credentials["acme"]._options.profile.name == name


def test_each_provider_has_its_own_profile() -> None:
    refreshers: dict[str, Any] = {name: Stating(name) for name in ("okta", "google", "strict")}
    with Credentials(None, refresher_for=refreshers.__getitem__, store="memory") as credentials:
        assert {name: credentials[name]._options.profile.name for name in refreshers} == {
            name: name for name in refreshers
        }


def test_a_wrong_profile_is_an_error_where_it_is_stated() -> None:
    with pytest.raises(ConfigurationError, match="unknown profile 'oktta'"):
        TokenEndpoint("https://login.acme.com/token", client_id="app", profile="oktta")
    with pytest.raises(ConfigurationError, match="unknown profile 'oktta'"):
        Credential("acme", Stating("oktta"))


# --- The limit ---


def test_each_provider_has_its_own_limit(new_auth_server: Callable[..., AuthServer]) -> None:
    servers = {"one": new_auth_server(), "three": new_auth_server()}
    endpoints = {"one": endpoint(servers["one"], limit=1), "three": endpoint(servers["three"], limit=3)}
    keys = [f"{name}-{number}" for name in servers for number in range(4)]
    with Credentials(
        None, refresher_for=lambda key: endpoints[key.partition("-")[0]], store="memory", limit=2
    ) as credentials:
        for key in keys:
            expired(credentials, servers[key.partition("-")[0]], key)
        for server in servers.values():
            server.hold("token")
        with ThreadPoolExecutor(len(keys)) as pool:
            waiting = [pool.submit(credentials[key].token) for key in keys]
            servers["one"].wait_for("token", 1)
            servers["three"].wait_for("token", 3)
            turns = credentials._options.turns
            assert turns is not None
            until(lambda: sorted(len(queue.waiting) for queue in turns._queues.values()) == [1, 3], "others queue")
            for server in servers.values():
                server.release("token")
            assert {found.result(PATIENCE).generation for found in waiting} == {2}


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "4"])
def test_a_limit_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit must be a whole number"):
        TokenEndpoint("https://login.acme.com/token", client_id="app", limit=limit)


# --- First tokens from the host's own table ---


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


def test_a_row_that_cannot_be_read_keeps_no_other_tenant_from_being_refreshed(auth_server: AuthServer) -> None:
    rows = {name: issued(auth_server, ends_in=-1.0) for name in ("a", "b")}
    with Credentials(endpoint(auth_server), store="memory", token_for=lambda key: rows[key]) as credentials:
        summary = credentials.refresh_due(within=600, keys=["a", "damaged", "b"])
    assert (summary.refreshed, summary.failed) == (2, 1)
    (error,) = summary.errors
    assert error.message == "token_for raised KeyError; see the cause"
    assert isinstance(error.__cause__, KeyError)


def test_what_is_no_token_is_an_error_that_shows_nothing() -> None:
    with Credentials(Refresher(), store="memory", token_for=lambda _: {"refresh": [REFRESH]}) as credentials:
        with pytest.raises(ConfigurationError, match="token_for: ") as caught:
            credentials["acme"]
        assert_error_is_silent(caught.value)


def test_what_it_raises_is_raised() -> None:
    def first(key: str) -> Any:
        raise LookupError(key)

    with Credentials(Refresher(), store="memory", token_for=first) as credentials, pytest.raises(LookupError):
        credentials["acme"]


def test_it_is_a_plain_function() -> None:
    async def first(key: str) -> Any:
        return first_token()

    for wrong in (first, "acme"):
        with pytest.raises(ConfigurationError, match="token_for must be a plain function"):
            Credentials(Refresher(), store="memory", token_for=wrong)  # type: ignore[arg-type]  # what is tested
