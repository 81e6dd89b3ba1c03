"""slack_sdk, the real package: the async client with a session of aiohttp, and the subclass of the sync one."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator

import aiohttp
import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from tests.sdks import page
from tests.sdks.storm import CALLS, Ended, Sent, ShapedApi, Storm

from onerefresh import Credential, LoginRequired
from onerefresh.clients.aiohttp import BearerAuth
from onerefresh.testing import AuthServer


def shape(sent: Sent) -> object:
    return {"ok": True, "user": "ada"}


@pytest.fixture
def api(server: AuthServer) -> Iterator[ShapedApi]:
    server.refuse_with("slack")
    with ShapedApi(server, shape) as api:
        yield api


def test_async(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    page.run("slack_sdk", acme, api.url)

    async def main() -> Exception:
        auth = BearerAuth(acme, api.url, refused="slack")
        async with aiohttp.ClientSession(middlewares=[auth]) as session:
            client = AsyncWebClient(base_url=api.url + "/api/", session=session)

            async def ask() -> str:
                return str((await client.auth_test())["user"])

            assert await storm.tasks(ask) == ["ada"] * CALLS
            return await ended().task(ask)

    assert isinstance(asyncio.run(main()), LoginRequired)


def test_sync(acme: Credential, api: ShapedApi, storm: Storm) -> None:
    client = page.run("slack_sdk", acme, api.url)["client"]
    assert storm.threads(lambda: str(client.auth_test()["user"])) == ["ada"] * CALLS


def test_sync_a_session_that_has_ended(acme: Credential, api: ShapedApi, ended: Callable[[], Ended]) -> None:
    client = page.run("slack_sdk", acme, api.url)["client"]
    assert isinstance(ended().call(client.auth_test), LoginRequired)


def test_sync_another_error_is_the_callers(acme: Credential, server: AuthServer) -> None:
    with ShapedApi(server, lambda sent: {"ok": sent.path.endswith("auth.test"), "error": "not_in_channel"}) as api:
        client = page.run("slack_sdk", acme, api.url)["client"]
        before = len(api.seen)
        with pytest.raises(SlackApiError, match="not_in_channel"):
            client.chat_postMessage(channel="C1", text="Hello")
        assert len(api.seen) - before == 1
        assert server.counters.token_requests == 0


def test_sync_the_parameters_are_sent_again_but_no_open_file(
    acme: Credential, api: ShapedApi, server: AuthServer
) -> None:
    client = page.run("slack_sdk", acme, api.url)["client"]
    server.revoke_access()
    client.api_call("chat.postMessage", json={"channel": "C1", "text": "Hello"}, headers={"X-Own": "7"})
    first, again = api.seen[-2:]
    assert b"Hello" in first.body
    assert (again.body, again.headers["x-own"]) == (first.body, "7")
    server.revoke_access()
    before = len(api.seen)
    with pytest.raises(SlackApiError, match="token_expired"):
        client.api_call("users.setPhoto", files={"image": io.BytesIO(b"picture")})
    assert len(api.seen) - before == 1


def test_sync_a_call_with_the_clients_secret_keeps_its_own_header(acme: Credential, api: ShapedApi) -> None:
    client = page.run("slack_sdk", acme, api.url)["client"]
    with pytest.raises(SlackApiError):
        client.oauth_v2_access(client_id="id", client_secret="secret", code="1")
    assert str(api.authorizations[-1]).startswith("Basic ")


def test_a_token_of_the_sdks_own_is_told(
    acme: Credential, api: ShapedApi, not_attached: Callable[[], list[str]]
) -> None:
    async def main() -> None:
        auth = BearerAuth(acme, api.url, refused="slack")
        async with aiohttp.ClientSession(middlewares=[auth]) as session:
            await AsyncWebClient(base_url=api.url + "/api/", session=session, token="unused").auth_test()

    with pytest.raises(SlackApiError):
        asyncio.run(main())
    (told,) = not_attached()
    assert "replace=True" in told


def test_the_sync_client_does_not_learn_of_a_refusal_by_itself(
    acme: Credential, api: ShapedApi, server: AuthServer
) -> None:
    client = WebClient(base_url=api.url + "/api/", token=acme.bearer())
    assert client.auth_test()["ok"]
    server.revoke_access()
    with pytest.raises(SlackApiError, match="token_expired"):
        client.auth_test()
    assert server.counters.token_requests == 0
