"""Against django-oauth-toolkit: it rotates refresh tokens, revokes a session whose refresh token is used twice, and
ends the old access token with each refresh.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from onerefresh import Credential, LoginRequired, Token
from onerefresh.clients.httpx import BearerAuth
from onerefresh.oauth2 import TokenEndpoint

if TYPE_CHECKING:
    from tests.realserver.conftest import DotServer

pytestmark = pytest.mark.slow


class Refresh:
    """A refresher as people write it: one POST, and the JSON that comes back."""

    def __init__(self, dot: DotServer) -> None:
        self.dot = dot

    def __call__(self, token: Token) -> Any:
        fields = {"grant_type": "refresh_token", "refresh_token": token.reveal_refresh_token()}
        reply = httpx2.post(self.dot.token_url, data=fields | self.dot.identification, trust_env=False)
        reply.raise_for_status()
        return reply.json()


async def statuses_of_parallel_calls(credential: Credential, dot: DotServer, calls: int) -> list[int]:
    auth = BearerAuth(credential, dot.url)
    async with httpx2.AsyncClient(auth=auth, trust_env=False, timeout=30) as client:
        answers = await asyncio.gather(*(client.get(dot.item_url(number)) for number in range(calls)))
    return [answer.status_code for answer in answers]


def test_100_calls_with_a_token_known_to_be_over_refresh_once_and_none_is_refused(dot: DotServer) -> None:
    first = dot.first_tokens()
    seed = Token(first["access_token"], first["refresh_token"], expires_at=time.time() - 1)
    with Credential("dot", Refresh(dot), token=seed) as credential:
        statuses = asyncio.run(statuses_of_parallel_calls(credential, dot, 100))
        assert statuses == [200] * 100
        assert credential.status().generation == 2
    report = dot.report()
    assert report.token_requests == {"password 200": 1, "refresh_token 200": 1}
    assert report.api_calls == {"200": 100}


def test_100_calls_with_a_token_that_ended_early_refresh_once_and_are_replayed_once(dot: DotServer) -> None:
    with Credential("dot", Refresh(dot), token=dot.first_tokens() | {"expires_in": 3600}) as credential:
        dot.expire_access_tokens()
        statuses = asyncio.run(statuses_of_parallel_calls(credential, dot, 100))
        assert statuses == [200] * 100
        assert credential.status().generation == 2
    report = dot.report()
    assert report.token_requests == {"password 200": 1, "refresh_token 200": 1}
    assert report.api_calls["200"] == 100
    assert report.api_calls["401"] <= 100


def test_a_session_revoked_for_reuse_costs_one_token_request_and_every_call_is_told_to_log_in(dot: DotServer) -> None:
    first = dot.first_tokens()
    endpoint = TokenEndpoint(dot.token_url, client_id=dot.client_id, client_secret=dot.client_secret)
    seed = Token(first["access_token"], first["refresh_token"], expires_at=time.time() - 1)
    with (
        Credential("dot", endpoint, token=seed) as credential,
        httpx2.Client(auth=BearerAuth(credential, dot.url), trust_env=False, timeout=30) as client,
    ):
        assert client.get(dot.item_url(1)).status_code == 200
        assert dot.report().live_refresh_tokens == 1

        reuse = dot.ask_for_tokens(grant_type="refresh_token", refresh_token=first["refresh_token"])
        assert (reuse.status_code, reuse.json()["error"]) == (400, "invalid_grant")
        assert dot.report().live_refresh_tokens == 0

        for _ in range(3):
            with pytest.raises(LoginRequired, match="invalid_grant"):
                client.get(dot.item_url(1))
    assert dot.report().token_requests == {"password 200": 1, "refresh_token 200": 1, "refresh_token 400": 2}
