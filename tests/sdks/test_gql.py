"""gql, the real package, over requests, httpx2 and aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import gql
import pytest
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportConnectionFailed, TransportServerError
from gql.transport.httpx import HTTPXTransport
from gql.transport.requests import RequestsHTTPTransport
from tests.sdks import page
from tests.sdks.storm import CALLS, Ended, Sent, ShapedApi, Storm

from onerefresh import Credential, LoginRequired
from onerefresh.clients import aiohttp, httpx, requests
from onerefresh.testing import AuthServer

QUERY = gql.gql("{ me { name } }")
POOL = 10
"""How many connections requests keeps for a host: so many calls go out at once."""


def shape(sent: Sent) -> object:
    return {"data": {"me": {"name": "Ada"}}}


@pytest.fixture(params=["invalid_token", "graphql"])
def refusal(request: pytest.FixtureRequest, server: AuthServer) -> str:
    """Both ways in which such a server refuses a token: with a 401, and with a 200."""
    server.refuse_with(request.param)
    return str(request.param)


@pytest.fixture
def api(server: AuthServer) -> Iterator[ShapedApi]:
    with ShapedApi(server, shape) as api:
        yield api


def check_sync(transport: Any, storm: Storm, ended: Callable[[], Ended], at_once: int) -> None:
    with gql.Client(transport=transport) as session:

        def ask() -> str:
            return str(session.execute(QUERY)["me"]["name"])

        assert storm.threads(ask, at_once=at_once) == ["Ada"] * CALLS
        error = ended().call(ask)
    assert isinstance(error, TransportConnectionFailed)
    assert isinstance(error.__cause__, LoginRequired)


def check_async(transport: Any, storm: Storm, ended: Callable[[], Ended]) -> None:
    async def main() -> Exception:
        async with gql.Client(transport=transport) as session:

            async def ask() -> str:
                return str((await session.execute(QUERY))["me"]["name"])

            assert await storm.tasks(ask) == ["Ada"] * CALLS
            return await ended().task(ask)

    error = asyncio.run(main())
    assert isinstance(error, TransportConnectionFailed)
    assert isinstance(error.__cause__, LoginRequired)


@pytest.mark.usefixtures("refusal")
def test_the_examples(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    check_sync(page.run("gql", acme, api.url)["transport"], storm, ended, POOL)


@pytest.mark.usefixtures("refusal")
def test_the_async_example(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    check_async(page.run("gql", acme, api.url)["async_transport"], storm, ended)


def test_sync_over_httpx(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    auth = httpx.BearerAuth(acme, api.url, refused="graphql")
    check_sync(HTTPXTransport(api.url + "/graphql", auth=auth), storm, ended, CALLS)


@pytest.mark.usefixtures("refusal")
def test_async_over_aiohttp(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    arguments = {"middlewares": [aiohttp.BearerAuth(acme, api.url, refused="graphql")]}
    check_async(AIOHTTPTransport(api.url + "/graphql", client_session_args=arguments), storm, ended)


def test_with_a_header_of_its_own_the_library_says_so(
    acme: Credential, api: ShapedApi, not_attached: Callable[[], list[str]]
) -> None:
    headers = {"Authorization": "Bearer unused"}
    transport = RequestsHTTPTransport(api.url, headers=headers, auth=requests.BearerAuth(acme, api.url))
    with gql.Client(transport=transport) as session:
        with pytest.raises(TransportServerError):
            session.execute(QUERY)
    (told,) = not_attached()
    assert "replace=True" in told


def test_a_session_that_reconnects_need_not_try_again_after_our_errors(
    acme: Credential, api: ShapedApi, ended: Callable[[], Ended]
) -> None:
    transport = page.run("gql", acme, api.url)["async_transport"]

    async def main() -> Exception:
        client: Any = gql.Client(transport=transport)  # its methods have no types
        session = await client.connect_async(reconnecting=True, retry_execute=False)
        try:
            return await ended().task(lambda: session.execute(QUERY))
        finally:
            await client.close_async()

    assert isinstance(asyncio.run(main()).__cause__, LoginRequired)
