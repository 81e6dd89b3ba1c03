"""`onerefresh fetch` with an API that wants the token in its own way, as the configuration file says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from tests.clients.recorder import Recorder

from onerefresh.testing import AuthServer

from .conftest import SECRET, Home

pytestmark = pytest.mark.slow

WAYS: dict[str, str | dict[str, str]] = {
    "'Token {token}'": "Token {token}",
    """'Snowflake Token="{token}"'""": 'Snowflake Token="{token}"',
    '{ X-Api-Key = "{token}", X-Account = "{extra.account}" }': {"X-Api-Key": "{token}", "X-Account": "a7"},
    '{ "?access_token" = "{token}" }': {"?access_token": "{token}"},
    '{ "cookie:session" = "{token}" }': {"cookie:session": "{token}"},
}


@pytest.fixture(params=WAYS)
def wanting(home: Home, request: pytest.FixtureRequest) -> Iterator[Home]:
    """A home whose API wants the token in one of these ways."""
    with AuthServer(client_secret=SECRET, attach=WAYS[request.param], extra={"account": "a7"}) as server:
        home.server = server
        home.configure(f"attach = {request.param}")
        yield home


@pytest.mark.long
def test_the_api_gets_the_token_as_it_wants_it(wanting: Home) -> None:
    wanting.log_in()
    server = wanting.server
    server.revoke_access()
    done = wanting.run("fetch", "acme", f"{server.api_url}/items/1?page=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["generation"] == 2
    done = wanting.run("--debug", "fetch", "acme", *(f"{server.api_url}/{number}" for number in range(20)))
    assert done.returncode == 0
    assert done.stdout.count("200 ") == 20
    assert "test-access-" not in done.stdout + done.stderr
    assert server.counters.token_requests == 1


def test_a_redirect_elsewhere_is_followed_without_it(wanting: Home) -> None:
    wanting.log_in()
    away = quote(wanting.server.foreign.url + "/there", safe="")
    done = wanting.run("fetch", "acme", f"{wanting.server.api_url}/redirect?to={away}&copy=yes")
    assert done.returncode == 0
    assert wanting.server.counters.foreign == 1
    assert wanting.server.foreign.authorizations == []


@pytest.mark.parametrize("bypassed", [False, True])
def test_the_proxy_of_the_environment_is_used(home: Home, bypassed: bool) -> None:
    home.log_in()
    home.configure('attach = { "?k" = "{token}" }')
    with Recorder() as proxy:
        home.environment["HTTP_PROXY"] = home.environment["http_proxy"] = proxy.url
        home.environment["NO_PROXY"] = home.environment["no_proxy"] = "127.0.0.1" if bypassed else "example.com"
        done = home.run("fetch", "acme", f"{home.server.api_url}/a")
        assert done.returncode == (1 if bypassed else 0), "the server itself wants a bearer token"
        assert [target.partition("?")[0] for target in proxy.targets] == [f"{home.server.api_url}/a"] * (not bypassed)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("attach = 'Token'", "credentials.acme.attach: attach= has no {token} in it"),
        ("attach = ''", "credentials.acme.attach must be a string in quotes, not an empty string"),
        ("attach = 7", "credentials.acme.attach must be a string in quotes, not a number"),
        ('attach = { X-Key = 7, X-Token = "{token}" }', "credentials.acme.attach.X-Key must be a string in quotes"),
        ("attach = {}", "credentials.acme.attach: attach= is empty"),
        ("attach = '?k={token}'", "begins with '?'"),
        ('attach = { X-Api-Key = "hunter2", X-Token = "{token}" }', "a secret does not belong in this file"),
        ("atach = '{token}'", "did you mean 'attach'?"),
    ],
)
def test_a_way_that_makes_no_sense_is_told_before_anything_is_sent(home: Home, line: str, says: str) -> None:
    home.configure(line)
    done = home.call("fetch", "acme", f"{home.server.api_url}/a")
    assert done.returncode == 2
    assert says in done.stderr
    assert "hunter2" not in done.stderr
    assert home.server.counters.api == {}
