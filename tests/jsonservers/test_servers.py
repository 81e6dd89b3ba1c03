"""The ready endpoints against the servers themselves: a storm, rotation, a session that is over, a busy server."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from onerefresh import Credential, LoginRequired, RequestRejected, Token
from onerefresh.endpoints import JsonEndpoint, flask_jwt_extended, matrix, pocketbase, simplejwt

if TYPE_CHECKING:
    from tests.jsonservers.conftest import Server

pytestmark = [pytest.mark.slow, pytest.mark.long]


def ended(endpoint: JsonEndpoint, answer: dict[str, Any], **cookies: Any) -> Token:
    """The token of a login's answer, as one that is known to be over."""
    fields = endpoint.answer_of(answer, **cookies)
    kept = {name: value for name, value in fields.items() if name not in ("access_token", "refresh_token")}
    refresh = fields.get("refresh_token")
    return Token(
        str(fields["access_token"]),
        None if refresh is None else str(refresh),
        expires_at=time.time() - 1,
        extra=kept,
    )


def assert_no_secrets(caplog: pytest.LogCaptureFixture, server: Server, *tokens: str) -> None:
    shown = " ".join([caplog.text, *map(repr, server.sent.requests)])
    assert not [token for token in tokens if token in shown]


def test_simplejwt_rotates_refresh_tokens_that_work_once(
    simplejwt_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server = simplejwt_server
    caplog.set_level(logging.DEBUG, "onerefresh")
    endpoint = simplejwt(server.url, send=server.sent)
    first = server.post("/test/login").json()
    with Credential("jwt", endpoint, token=first) as credential:
        assert server.calls(credential, "/api/items/1") == [200] * 100
        assert server.sent.statuses == []
        server.post("/test/expire")
        assert server.calls(credential, "/api/items/1") == [200] * 100
        assert server.sent.statuses == [200]
        assert credential.token().reveal_refresh_token() != first["refresh"]

        server.post("/test/busy")
        server.post("/test/expire")
        assert server.calls(credential, "/api/items/1") == [200] * 100
        assert server.sent.statuses == [200, 429, 429, 200]
    assert_no_secrets(caplog, server, *first.values())

    with Credential("again", endpoint, token=ended(endpoint, first)) as credential:  # the first one was used
        for _ in range(3):
            with pytest.raises(LoginRequired, match="token_not_valid") as raised:
                credential.token()
            assert raised.value.proven
    assert server.sent.statuses == [200, 429, 429, 200, 401]


def test_simplejwt_with_a_token_known_to_be_over(simplejwt_server: Server) -> None:
    server = simplejwt_server
    endpoint = simplejwt(server.url, send=server.sent)
    with Credential("jwt", endpoint, token=ended(endpoint, server.post("/test/login").json())) as credential:
        assert server.calls(credential, "/api/items/1") == [200] * 100
    assert server.sent.statuses == [200]


@pytest.mark.parametrize("rotates", [False, True])
def test_flask_jwt_extended_with_headers(flask_server: Callable[..., Server], rotates: bool) -> None:
    server = flask_server(cookies=False, rotates=rotates)
    endpoint = flask_jwt_extended(server.url, send=server.sent)
    first = server.post("/login").json()
    with Credential("flask", endpoint, token=first) as credential:
        assert server.calls(credential, "/api/items/1", 3) == [200] * 3
        server.post("/test/expire")
        assert server.calls(credential, "/api/items/1") == [200] * 100
        assert server.sent.statuses == [200]
        assert (credential.token().reveal_refresh_token() != first["refresh_token"]) is rotates

    if rotates:
        with Credential("again", endpoint, token=ended(endpoint, first)) as credential:
            with pytest.raises(LoginRequired) as raised:
                credential.token()
            assert raised.value.proven
        assert server.sent.statuses == [200, 401]


@pytest.mark.parametrize("rotates", [False, True])
def test_flask_jwt_extended_with_cookies_and_csrf(
    flask_server: Callable[..., Server], rotates: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = flask_server(cookies=True, rotates=rotates)
    caplog.set_level(logging.DEBUG, "onerefresh")
    endpoint = flask_jwt_extended(server.url, cookies=True, send=server.sent)
    login = server.post("/login")
    first = endpoint.answer_of(login.json(), cookies=login.cookies)
    server.http.cookies.clear()
    with Credential("flask", endpoint, token=ended(endpoint, login.json(), cookies=login.cookies)) as credential:
        assert server.calls(credential, "/api/items/1") == [200] * 100
        assert server.sent.statuses == [200]
        new = credential.token().reveal_refresh_token()
        assert (new != first["refresh_token"]) is rotates

        server.post("/test/busy")
        server.post("/test/expire")
        assert server.calls(credential, "/api/items/1") == [200] * 100
    assert server.sent.statuses == [200, 503, 503, 200]
    assert_no_secrets(caplog, server, str(first["access_token"]), str(first["refresh_token"]), new)


def test_a_cookie_that_is_deleted_ends_the_session(flask_server: Callable[..., Server]) -> None:
    server = flask_server(cookies=True, rotates=True)
    login = server.post("/login")
    gone = flask_jwt_extended(f"{server.url}/refresh/gone", cookies=True, send=server.sent)
    with Credential("flask", gone, token=ended(gone, login.json(), cookies=login.cookies)) as credential:
        for _ in range(3):
            with pytest.raises(LoginRequired, match="deleted the cookie 'refresh_token_cookie'") as raised:
                credential.token()
            assert raised.value.proven
    assert server.sent.statuses == [401]


def test_synapse_rotates_and_ends_a_session_with_a_logout(synapse: Server, caplog: pytest.LogCaptureFixture) -> None:
    server = synapse
    caplog.set_level(logging.DEBUG, "onerefresh")
    endpoint = matrix(server.url, send=server.sent)
    who = {"username": "ada", "password": "a password of ada", "auth": {"type": "m.login.dummy"}}
    first = server.post("/_matrix/client/v3/register", who | {"refresh_token": True}).raise_for_status().json()
    with Credential("whole", endpoint, token=first) as credential:
        assert 3500 < credential.token().expires_at - time.time() <= 3600  # type: ignore[operator]
    whoami = "/_matrix/client/v3/account/whoami"
    with Credential("matrix", endpoint, token=ended(endpoint, first)) as credential:
        assert server.calls(credential, whoami) == [200] * 100
        assert server.sent.statuses == [200]
        new = credential.token()
        assert 3500 < new.expires_at - time.time() <= 3600  # type: ignore[operator]

        with Credential("again", endpoint, token=ended(endpoint, first)) as other:  # the next one was used
            with pytest.raises(LoginRequired) as raised:
                other.token()
            assert raised.value.proven
        assert server.sent.statuses == [200, 403]
        assert server.calls(credential, whoami, 3) == [200] * 3  # no family is revoked

        with Credential("elsewhere", endpoint, token=new) as other:
            assert other.logout().revocation == "revoked"
        for _ in range(3):
            with pytest.raises(LoginRequired) as raised:
                server.calls(credential, whoami, 20)
            assert raised.value.proven
    assert server.sent.statuses == [200, 403, 200, 401]
    assert_no_secrets(caplog, server, first["access_token"], first["refresh_token"], new.reveal())


def test_pocketbase_renews_from_the_access_token(pocketbase_server: tuple[Server, dict[str, Any]]) -> None:
    server, first = pocketbase_server
    endpoint = pocketbase(server.url, collection="_superusers", send=server.sent)
    path = "/api/collections/_superusers/records"
    with Credential("whole", endpoint, token=first) as credential:
        assert credential.token().expires_at is not None  # from the JWT
        assert server.calls(credential, path, 3) == [200] * 3
    with Credential("pocketbase", endpoint, token=ended(endpoint, first)) as credential:
        assert server.calls(credential, path) == [200] * 100
        assert server.sent.statuses == [200]
        token = credential.token()
        assert token.refresh_token is None

        record = f"{path}/{first['record']['id']}"
        password = {"password": "another password", "passwordConfirm": "another password"}
        changed = server.http.patch(record, json=password, headers={"authorization": token.reveal()})
        assert changed.status_code == 200  # which ends all its tokens
        for _ in range(3):
            with pytest.raises(LoginRequired) as raised:
                credential.token(refused=token)
            assert raised.value.proven
    assert server.sent.statuses == [200, 401]


def test_a_wrong_collection_of_pocketbase_is_no_end_of_a_session(
    pocketbase_server: tuple[Server, dict[str, Any]],
) -> None:
    server, first = pocketbase_server
    endpoint = pocketbase(server.url, send=server.sent)
    with Credential("pocketbase", endpoint, token=ended(endpoint, first)) as credential:
        with pytest.raises(RequestRejected, match="answered 403"):
            credential.token()
