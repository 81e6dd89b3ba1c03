"""One `Credentials` for several providers: each refresher states what its server does, and how much it bears."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.core.calls import Refresher
from tests.credentials.tenants import PATIENCE, endpoint, expired, until

from onerefresh import ConfigurationError, Credential, Credentials, Profile
from onerefresh.oauth2 import TokenEndpoint
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
