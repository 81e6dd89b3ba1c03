"""githubkit, the real package, sync and async."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from githubkit import GitHub
from githubkit.cache import MemCacheStrategy
from githubkit.exception import RequestError
from tests.sdks import page
from tests.sdks.storm import CALLS, Ended, Sent, ShapedApi, Storm

from onerefresh import Credential, LoginRequired
from onerefresh.clients.httpx import BearerAuth
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.filterwarnings("ignore:unclosed database in <sqlite3:ResourceWarning")
"""The SDK's caches are databases in memory, which it does not close."""


@pytest.fixture(autouse=True)
def _caches_go_while_their_warnings_are_ignored() -> Iterator[None]:
    yield
    gc.collect()


def shape(sent: Sent) -> object:
    return {"login": "ada", "id": 1}


@pytest.fixture
def api(server: AuthServer) -> Iterator[ShapedApi]:
    with ShapedApi(server, shape) as api:
        yield api


@pytest.mark.seconds
def test_sync(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    github = page.run("githubkit", acme, api.url)["github"]

    def ask() -> str:
        return str(github.rest.users.get_authenticated().json()["login"])

    assert storm.threads(ask) == ["ada"] * CALLS
    error = ended().call(ask)
    assert isinstance(error, RequestError)
    assert isinstance(error.__cause__, LoginRequired)


@pytest.mark.seconds
def test_async(acme: Credential, api: ShapedApi, storm: Storm, ended: Callable[[], Ended]) -> None:
    github = page.run("githubkit", acme, api.url)["github"]

    async def main() -> Exception:
        async with github:

            async def ask() -> str:
                return str((await github.rest.users.async_get_authenticated()).json()["login"])

            assert await storm.tasks(ask) == ["ada"] * CALLS
            return await ended().task(ask)

    error = asyncio.run(main())
    assert isinstance(error, RequestError)
    assert isinstance(error.__cause__, LoginRequired)


def test_the_auth_of_a_client_is_no_strategy(acme: Credential, api: ShapedApi) -> None:
    auth: Any = BearerAuth(acme, api.url)
    with pytest.raises(AttributeError, match="get_auth_flow"):
        GitHub(auth, base_url=api.url).request("GET", "/user")


@pytest.mark.seconds
def test_the_cache_that_all_objects_share_trusts_the_tags_of_the_api(acme: Credential, server: AuthServer) -> None:
    """Here two users' answers have one tag. A cache of each credential's own keeps them apart all the same."""
    other = Credential("other", lambda token: {}, token=server.issue())
    names = {f"Bearer {acme.bearer()}": "acme", f"Bearer {other.bearer()}": "other"}

    def tagged(sent: Sent) -> object:
        return 304 if "if-none-match" in sent.headers else {"login": names[sent.headers["authorization"]]}

    def logins(api: ShapedApi, **options: Any) -> list[str]:
        found = []
        for credential in (acme, other):
            strategy = page.run("githubkit", credential, api.url)["Strategy"]
            own = {name: made() for name, made in options.items()}
            github = GitHub(strategy(BearerAuth(credential, api.url)), base_url=api.url, **own)
            found.append(github.rest.users.get_authenticated().json()["login"])
        return found

    headers = {"Vary": "Accept, Authorization", "Cache-Control": "private, max-age=60", "ETag": '"1"'}
    with ShapedApi(server, tagged, headers=headers) as api:
        assert logins(api) == ["acme", "acme"]
        assert logins(api, cache_strategy=MemCacheStrategy) == ["acme", "other"]
        assert logins(api, http_cache=bool) == ["acme", "other"]
