"""elasticsearch, the real package: over requests, and over httpx in async code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elastic_transport import ConnectionError as NodeFailed
from elastic_transport import RequestsHttpNode
from elasticsearch import AuthenticationException, Elasticsearch
from tests.sdks import page
from tests.sdks.storm import CALLS, Ended, Sent, ShapedApi, Storm

from onerefresh import Credential, LoginRequired
from onerefresh.clients import requests
from onerefresh.testing import AuthServer

POOL = 10
"""How many connections a node keeps: so many calls go out at once."""


def shape(sent: Sent) -> object:
    hits: dict[str, Any] = {"total": {"value": 0, "relation": "eq"}, "hits": []}
    return {"took": 1, "timed_out": False, "hits": hits}


@pytest.fixture
def api(server: AuthServer) -> Iterator[ShapedApi]:
    with ShapedApi(server, shape, headers={"X-Elastic-Product": "Elasticsearch"}) as api:
        yield api


def test_sync(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    with page.run("elasticsearch", acme, api.url)["client"] as client:

        def ask() -> int:
            return int(client.search(index="items")["took"])

        assert storm.threads(ask, at_once=POOL) == [1] * CALLS
        assert isinstance(ended().call(ask), LoginRequired)


def test_sync_without_retries(acme: Credential, api: ShapedApi, server: AuthServer) -> None:
    with page.run("elasticsearch", acme, api.url)["client"] as client:
        server.revoke_family()
        with pytest.raises(NodeFailed) as caught:
            client.options(max_retries=0).search(index="items")
    assert isinstance(caught.value.__context__, LoginRequired)


def test_async(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    names = page.run("elasticsearch", acme, api.url)
    names["client"].close()

    async def main() -> Exception:
        async with names["async_client"] as client:

            async def ask() -> int:
                return int((await client.search(index="items"))["took"])

            assert await storm.tasks(ask, at_once=POOL) == [1] * CALLS
            return await ended().task(ask)

    error = asyncio.run(main())
    assert isinstance(error, NodeFailed)
    assert isinstance(error.__cause__, LoginRequired)


def test_a_token_of_the_sdks_own_beside_it_is_told(
    acme: Credential, api: ShapedApi, not_attached: Callable[[], list[str]]
) -> None:
    auth = requests.BearerAuth(acme, api.url)
    with Elasticsearch(api.url, node_class=RequestsHttpNode, http_auth=auth, bearer_auth="unused") as client:
        with pytest.raises(AuthenticationException):
            client.search(index="items")
    (told,) = not_attached()
    assert "replace=True" in told


def test_the_sdk_says_which_node_class_it_needs(acme: Credential, api: ShapedApi) -> None:
    with pytest.raises(ValueError, match="node_class='requests'"):
        Elasticsearch(api.url, http_auth=requests.BearerAuth(acme, api.url))
