"""anthropic, the real package: with the middleware of `docs/sdks.md`, and without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest
from tests.sdks import page
from tests.sdks.storm import CALLS, Ended, Sent, ShapedApi, Storm

from onerefresh import Credential, LoginRequired, OnerefreshError
from onerefresh.clients.httpx import BearerAuth
from onerefresh.testing import AuthServer

QUESTION: dict[str, Any] = {"model": "small", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}


def shape(sent: Sent) -> object:
    message = {"id": "1", "type": "message", "role": "assistant", "model": "small", "stop_reason": "end_turn"}
    return {**message, "content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 1, "output_tokens": 1}}


@pytest.fixture
def api(server: AuthServer) -> Iterator[ShapedApi]:
    with ShapedApi(server, shape) as api:
        yield api


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before the SDK's retries, which are not waited for."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_sync(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended], pauses: list[float]) -> None:
    with page.run("anthropic", acme, api.url)["client"] as client:

        def ask() -> str:
            return str(client.messages.create(**QUESTION).content[0].text)

        assert storm.threads(ask) == ["Hi"] * CALLS
        error = ended().call(ask)
    assert isinstance(error, LoginRequired)
    assert error.proven
    assert pauses == []


def test_async(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    names = page.run("anthropic", acme, api.url)
    names["client"].close()

    async def main() -> None:
        async with names["async_client"] as client:

            async def ask() -> str:
                return str((await client.messages.create(**QUESTION)).content[0].text)

            assert await storm.tasks(ask) == ["Hi"] * CALLS
            assert isinstance(await ended().task(ask), LoginRequired)

    asyncio.run(main())


def test_the_middleware_leaves_a_failed_connection_to_the_sdk(
    acme: Credential, api: ShapedApi, nobody: str, pauses: list[float]
) -> None:
    with page.run("anthropic", acme, api.url)["client"] as client:
        with pytest.raises(anthropic.APIConnectionError) as caught:
            client.with_options(base_url=nobody).messages.create(**QUESTION)
    assert not isinstance(caught.value.__cause__, OnerefreshError)
    assert len(pauses) == 2


def test_without_the_middleware_the_sdk_tries_again(
    acme: Credential, api: ShapedApi, ended: Callable[[], Ended], pauses: list[float]
) -> None:
    http = anthropic.DefaultHttpxClient(auth=BearerAuth(acme, api.url, replace=True))
    with anthropic.Anthropic(api_key="unused", base_url=api.url, http_client=http) as client:
        error = ended().call(lambda: client.messages.create(**QUESTION))
    assert isinstance(error, anthropic.APIConnectionError)
    assert isinstance(error.__cause__, LoginRequired)
    assert len(pauses) == 2 * 2


def test_without_replace_the_library_says_so(
    acme: Credential, api: ShapedApi, not_attached: Callable[[], list[str]]
) -> None:
    http = anthropic.DefaultHttpxClient(auth=BearerAuth(acme, api.url))
    with anthropic.Anthropic(api_key="unused", base_url=api.url, http_client=http) as client:
        with pytest.raises(anthropic.AuthenticationError):
            client.messages.create(**QUESTION)
    (told,) = not_attached()
    assert "replace=True" in told
