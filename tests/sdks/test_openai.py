"""openai, the real package: `docs/sdks.md` says how, and what happens otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from tests.sdks import page
from tests.sdks.storm import CALLS, Ended, Sent, ShapedApi, Storm

from onerefresh import Credential, LoginRequired
from onerefresh.clients.httpx import BearerAuth
from onerefresh.testing import AuthServer

QUESTION: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}


def shape(sent: Sent) -> object:
    message = {"role": "assistant", "content": "Hi"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice]}


@pytest.fixture
def api(server: AuthServer) -> Iterator[ShapedApi]:
    with ShapedApi(server, shape) as api:
        yield api


def test_sync(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    with page.run("openai", acme, api.url)["client"] as client:

        def ask() -> str:
            return str(client.chat.completions.create(**QUESTION).choices[0].message.content)

        assert storm.threads(ask) == ["Hi"] * CALLS
        assert isinstance(ended().call(ask), LoginRequired)


def test_async(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    names = page.run("openai", acme, api.url)
    names["client"].close()

    async def main() -> None:
        async with names["async_client"] as client:

            async def ask() -> str:
                return str((await client.chat.completions.create(**QUESTION)).choices[0].message.content)

            assert await storm.tasks(ask) == ["Hi"] * CALLS
            assert isinstance(await ended().task(ask), LoginRequired)

    asyncio.run(main())


def test_without_replace_the_library_says_so(
    acme: Credential, api: ShapedApi, not_attached: Callable[[], list[str]]
) -> None:
    http = openai.DefaultHttpxClient(auth=BearerAuth(acme, api.url))
    with openai.OpenAI(api_key="unused", base_url=api.url, http_client=http) as client:
        for _ in range(2):
            with pytest.raises(openai.AuthenticationError):
                client.chat.completions.create(**QUESTION)
    (told,) = not_attached()
    assert "replace=True" in told


def test_a_text_or_a_function_in_the_place_of_the_key(acme: Credential, api: ShapedApi, server: AuthServer) -> None:
    """What the page says of them: neither learns of a refusal, and a token as such is not shown."""
    keys: list[Any] = [acme.token().reveal(), acme.bearer, acme.token()]
    clients = [openai.OpenAI(api_key=key, base_url=api.url) for key in keys]
    text, function, token = clients
    try:
        for client in (text, function):
            assert client.chat.completions.create(**QUESTION).id == "1"
        with pytest.raises(openai.AuthenticationError):
            token.chat.completions.create(**QUESTION)
        assert str(api.authorizations[-1]).startswith("Bearer Token(")
        server.revoke_access()
        for client in (text, function):
            with pytest.raises(openai.AuthenticationError):
                client.chat.completions.create(**QUESTION)
        assert server.counters.token_requests == 0
    finally:
        for client in clients:
            client.close()


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")  # by the SDK
def test_a_function_as_the_key_beside_it_serves_the_realtime_connections(
    acme: Credential, api: ShapedApi, server: AuthServer, storm: Storm, caplog: pytest.LogCaptureFixture
) -> None:
    """They are websockets, and pass the HTTP client by."""
    caplog.set_level(logging.INFO, "websockets")  # below, it logs each header
    http = openai.DefaultHttpxClient(auth=BearerAuth(acme, api.url, replace=True))
    with openai.OpenAI(api_key=acme.bearer, base_url=api.url, http_client=http) as client:

        def ask() -> str:
            return str(client.chat.completions.create(**QUESTION).choices[0].message.content)

        assert storm.threads(ask) == ["Hi"] * CALLS
        speaking = client.with_options(base_url=server.api_url + "/websocket")
        with speaking.realtime.connect(model="small") as connection:
            assert connection is not None
        assert isinstance(Ended(server).call(ask), LoginRequired)
