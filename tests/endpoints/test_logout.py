"""JsonEndpoint at a logout: the request that ends the session at the server."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest
from tests.core.calls import listening
from tests.endpoints.test_json_endpoint import ACCESS, REFRESH, URL, Api

from onerefresh import ConfigurationError, Credential, LoginRequired, Secret, Token
from onerefresh.endpoints import (
    JsonEndpoint,
    directus,
    flask_jwt_extended,
    matrix,
    pocketbase,
    simplejwt,
    supabase,
)
from onerefresh.events import Kind

LOGOUT = "https://api.acme.com/auth/logout"
TOKEN = Token(ACCESS, REFRESH)


def logged_out(endpoint: JsonEndpoint, token: Any = TOKEN, revocation: str = "revoked") -> str:
    """Log out, and return the detail."""
    with listening() as events, Credential("acme", endpoint, token=token) as credential:
        credential.token()
        done = credential.logout()
        with pytest.raises(LoginRequired):
            credential.token()
    assert done.revocation == revocation
    told = {"revoked": Kind.REVOKED, "not_confirmed": Kind.NOT_REVOKED}.get(revocation)
    assert [event.kind for event in events][-1] in (told, Kind.LOGGED_OUT)
    assert not [secret for secret in (ACCESS, REFRESH) if secret in f"{events} {done.detail}"]
    return done.detail


def test_a_url_alone_is_sent_the_same_request() -> None:
    api = Api(204, b"")
    headers = {"X-Api-Key": Secret("key-0123456789")}
    body = {"refresh_token": "{refresh_token}", "mode": "json"}
    logged_out(JsonEndpoint(URL, logout=LOGOUT, body=body, headers=headers, send=api))
    assert (api.request.method, api.request.url) == ("POST", LOGOUT)
    assert json.loads(api.request.body) == {"refresh_token": REFRESH, "mode": "json"}
    assert api.request.headers["X-Api-Key"] == "key-0123456789"


def test_a_request_of_its_own() -> None:
    api = Api(200, {"ok": True})
    logout = {"url": LOGOUT, "method": "DELETE", "body": None, "headers": {"Authorization": "Bearer {access_token}"}}
    logged_out(JsonEndpoint(URL, logout=logout, send=api))
    assert (api.request.method, api.request.url, api.request.body) == ("DELETE", LOGOUT, b"")
    assert api.request.headers["Authorization"] == f"Bearer {ACCESS}"


def test_another_method_at_the_same_url() -> None:
    for method, body in (("DELETE", {"refresh_token": REFRESH}), ("GET", None)):
        api = Api(204, b"")
        settings = {"method": method, "headers": {"X-Token": "{refresh_token}"}} if body is None else {"method": method}
        logged_out(JsonEndpoint(URL, body={"refresh_token": "{refresh_token}"}, logout=settings, send=api))
        assert (api.request.method, api.request.url) == (method, URL)
        assert (json.loads(api.request.body) if api.request.body else None) == body


def test_what_was_kept_is_sent_and_functions_are_called() -> None:
    api, keys = Api(204, b""), iter(["key-1", "key-2"])
    endpoint = JsonEndpoint(
        URL,
        keep={"csrf": "csrf"},
        headers={"X-Csrf": "{csrf}", "X-Key": lambda: next(keys)},
        logout=LOGOUT,
        send=api,
    )
    logged_out(endpoint, {"access_token": ACCESS, "refresh_token": REFRESH, "csrf": "csrf-0123456789"})
    assert api.request.headers["X-Csrf"] == "csrf-0123456789"
    assert api.request.headers["X-Key"].startswith("key-")


def test_without_one_the_server_is_not_told() -> None:
    api = Api()
    logged_out(JsonEndpoint(URL, send=api), revocation="no_endpoint")
    assert not api.requests


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "the logout endpoint answered 401"),
        (302, "correct the logout endpoint URL"),
        (500, "the logout endpoint answered 500"),
    ],
)
def test_a_server_that_does_not_confirm(status: int, said: str) -> None:
    endpoint = JsonEndpoint(URL, dead=401, logout=LOGOUT, send=Api(status, {"token": ACCESS}))
    assert said in logged_out(endpoint, revocation="not_confirmed")


def test_a_token_that_is_missing_sends_nothing_and_says_so() -> None:
    api = Api()
    endpoint = JsonEndpoint(URL, logout=LOGOUT, send=api)
    detail = logged_out(endpoint, Token(ACCESS, expires_at=None), "not_confirmed")
    assert "the logout needs 'refresh_token', which this session does not have; nothing was sent" in detail
    assert not api.requests


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"logout": 1}, "logout must be a URL, or a mapping such as {'url': …, 'method': …}, not int"),
        (
            {"logout": "http://api.acme.com/logout"},
            "logout: the logout endpoint http://api.acme.com/logout is not https",
        ),
        ({"logout": {"url": LOGOUT, "fields": {}}}, "logout has an unknown setting 'fields': use some of url, method,"),
        ({"logout": {"url": LOGOUT, "body": None}}, "logout: the request holds no token"),
        ({"logout": {"body": {"t": "{refresh}"}}}, "logout: body['t'] has an unknown gap {refresh}"),
        ({"logout": {"method": "HEAD"}}, "logout: unknown method 'HEAD'"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        JsonEndpoint(URL, **settings)
    assert said in str(raised.value)


@pytest.mark.parametrize("made", [JsonEndpoint, directus, matrix, supabase, simplejwt, flask_jwt_extended, pocketbase])
@pytest.mark.parametrize(
    "wrong",
    [
        {"logout": {"method": "HEAD", "headers": {"X-Key": "hidden-0123456789"}}},
        {"grant": "bad"},
        {"fields": {"x": "y"}},
        {"method": "HEAD"},
        {"timeout": -1},
        {"dead": 500},
        {"url": "http://acme.com"},
    ],
)
def test_no_traceback_with_locals_shows_a_secret(made: Any, wrong: dict[str, Any]) -> None:
    settings = {"url": URL, "headers": {"X-Key": "hidden-0123456789"}, "cookies": {"k": "hidden-0123456789"}, **wrong}
    with pytest.raises(ConfigurationError) as raised:
        made(**settings)
    frames = traceback.TracebackException.from_exception(raised.value, capture_locals=True).stack
    ours = [frame for frame in frames if "onerefresh" in frame.filename and "tests" not in frame.filename]
    assert ours
    assert not [frame for frame in ours if "hidden-0123456789" in str(frame.locals)]


@pytest.mark.parametrize(
    ("endpoint", "wanted"),
    [
        (directus, ("POST", "https://acme.com/auth/logout", {"refresh_token": REFRESH, "mode": "json"}, None)),
        (matrix, ("POST", "https://acme.com/_matrix/client/v3/logout", None, f"Bearer {ACCESS}")),
        (supabase, ("POST", "https://acme.com/auth/v1/logout?scope=local", None, f"Bearer {ACCESS}")),
    ],
)
def test_ready_servers(endpoint: Any, wanted: tuple[object, ...]) -> None:
    own = {"directus": "/auth/refresh", "matrix": "/_matrix/client/v3/refresh", "supabase": "/auth/v1/token"}
    for url in ("https://acme.com", "https://acme.com" + own[endpoint.__name__]):
        api = Api(204, b"")
        logged_out(endpoint(url, send=api))
        body = json.loads(api.request.body) if api.request.body else None
        assert (api.request.method, api.request.url, body, api.request.headers.get("Authorization")) == wanted
    logged_out(endpoint("https://acme.com", send=Api(), logout=None), revocation="no_endpoint")
