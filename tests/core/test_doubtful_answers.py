"""Eleven kinds of doubtful answers, through the public face, and what each of them gives."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests

from onerefresh import Credential, LoginRequired, Token
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.stores.sqlite import SQLiteStore
from onerefresh.testing import AuthServer

Function = Callable[[AuthServer, Token], Mapping[str, Any]]


def by_httpx2(server: AuthServer, token: Token) -> Mapping[str, Any]:
    body = {"refresh_token": token.reveal_refresh_token()}
    answer = httpx2.post(server.json_refresh_url, json=body, trust_env=False).raise_for_status()
    return answer.json()  # type: ignore[no-any-return]


def by_httpx(server: AuthServer, token: Token) -> Mapping[str, Any]:
    body = {"refresh_token": token.reveal_refresh_token()}
    answer = httpx.post(server.json_refresh_url, json=body, trust_env=False).raise_for_status()
    return answer.json()  # type: ignore[no-any-return]


def by_requests(server: AuthServer, token: Token) -> Mapping[str, Any]:
    answer = requests.post(server.json_refresh_url, json={"refresh_token": token.reveal_refresh_token()}, timeout=10)
    answer.raise_for_status()
    return answer.json()  # type: ignore[no-any-return]


def by_aiohttp(server: AuthServer, token: Token) -> Mapping[str, Any]:
    async def call() -> Mapping[str, Any]:
        body = {"refresh_token": token.reveal_refresh_token()}
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.post(server.json_refresh_url, json=body) as answer,
        ):
            return await answer.json()  # type: ignore[no-any-return]

    return asyncio.run(call())


def by_urllib(server: AuthServer, token: Token) -> Mapping[str, Any]:
    body = json.dumps({"refresh_token": token.reveal_refresh_token()}).encode()
    request = urllib.request.Request(server.json_refresh_url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


ENDPOINT = "a TokenEndpoint"
DOUBTFUL = [
    pytest.param(ENDPOINT, {"status": 401, "body": {"error": "unauthorized"}}, id="oauth: 401, unknown code"),
    pytest.param(ENDPOINT, {"status": 401, "body": ""}, id="oauth: 401, empty"),
    pytest.param(ENDPOINT, {"status": 400, "body": {"error": "their_own"}}, id="oauth: 400, unknown code"),
    pytest.param(ENDPOINT, {"status": 400, "body": ""}, id="oauth: 400, empty"),
    pytest.param(ENDPOINT, {"status": 400, "body": {"__type": "NotAuthorizedException"}}, id="Cognito's code"),
    pytest.param(by_httpx2, {"status": 401, "body": {"detail": "Unauthorized"}}, id="httpx2: bare 401"),
    pytest.param(by_httpx, {"status": 400, "body": ""}, id="httpx: empty 400"),
    pytest.param(by_requests, {"status": 401, "body": ""}, id="requests: empty 401"),
    pytest.param(by_requests, {"status": 400, "body": "Bad Request"}, id="requests: 400 of plain text"),
    pytest.param(by_aiohttp, {"status": 401, "body": {"error": "invalid_client"}}, id="aiohttp: 401, body not kept"),
    pytest.param(by_urllib, {"status": 401, "body": {"message": "no"}}, id="urllib: 401, no code"),
]


def expired(server: AuthServer) -> Token:
    """A session whose access token is over."""
    answer = server.issue()
    access, refresh = str(answer["access_token"]), str(answer["refresh_token"])
    return Token(access, refresh, expires_in=60.0, issued_at=time.time() - 3600.0)


def credential_of(how: Any, server: AuthServer, folder: Path, token: Token | None = None) -> Credential:
    refresher: Any
    if how == ENDPOINT:
        refresher = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
    else:

        def refresher(token: Token) -> Mapping[str, Any]:
            found: Mapping[str, Any] = how(server, token)
            return found

    return Credential("acme", refresher, token=token, store=f"sqlite:///{folder / 'tokens.db'}")


@pytest.mark.parametrize(("how", "fault"), DOUBTFUL)
def test_a_doubtful_answer_ends_nothing(how: Any, fault: dict[str, Any], tmp_path: Path) -> None:
    with AuthServer() as server:
        server.fail_next(**fault)
        first = expired(server)
        with credential_of(how, server, tmp_path, first) as credential:
            with pytest.raises(LoginRequired) as caught:
                credential.token()
            assert not caught.value.proven
            assert "the session is over, or the client settings or the refresher are wrong" in caught.value.message
            assert (caught.value.credential, caught.value.generation) == ("acme", 1)

            status = credential.status()
            assert (status.state, status.doubts, status.asks_again) == ("idle", 1, True)
            assert 25.0 < status.retry_after <= 36.0

        with credential_of(how, server, tmp_path) as another:  # of the same client: it knows no more
            with pytest.raises(LoginRequired) as caught:
                another.token()
            assert not caught.value.proven
            assert server.counters.token_requests == 1
            another.login(server.issue())
            assert another.token().generation == 2
            assert another.status().doubts == 0


@pytest.mark.parametrize("how", [ENDPOINT, by_httpx2])
def test_a_proven_end_stays_dead(how: Any, tmp_path: Path) -> None:
    with AuthServer() as server:
        first = expired(server)
        server.revoke_family()
        with credential_of(how, server, tmp_path, first) as credential:
            with pytest.raises(LoginRequired) as caught:
                credential.token()
            assert caught.value.proven
            status = credential.status()
            assert (status.state, status.asks_again) == ("dead", False)


def test_a_client_whose_secret_was_corrected_asks_at_once(tmp_path: Path) -> None:
    with AuthServer() as server:
        server.fail_next(status=400, body="")  # as a server that exists says that the secret is wrong

        first = expired(server)

        def client(secret: str) -> Credential:
            login = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=secret)
            store = SQLiteStore(tmp_path / "tokens.db")  # each has one of its own, as two processes have
            return Credential("acme", login, token=first, store=store)

        with client("wrong") as wrong, pytest.raises(LoginRequired):
            wrong.token()
        with client(server.client_secret or "") as right:
            assert right.token().generation == 2
