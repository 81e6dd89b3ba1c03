"""What type checkers make of programs like those of the README: this file is checked, strictly, and never run.

``make types`` runs mypy and pyright over it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, assert_type

import aiohttp
import grpc
import grpc.aio
import httpx2
import requests
from azure.core.credentials import SupportsTokenInfo, TokenCredential
from azure.core.credentials_async import AsyncTokenCredential

import onerefresh
from onerefresh import (
    Credential,
    Credentials,
    LoggedOut,
    LoginRequired,
    Profile,
    RefreshUnavailable,
    Secret,
    Status,
    Store,
    Token,
)
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import azure as for_azure
from onerefresh.clients import google_auth as for_google_auth
from onerefresh.clients import grpc as for_grpc
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests
from onerefresh.clients import websockets as for_websockets
from onerefresh.clients.refused import ApiAnswer, RefusedWhen, json_code
from onerefresh.endpoints import JsonEndpoint, directus, flask_jwt_extended, pocketbase, supabase
from onerefresh.events import Event, Kind, subscribe
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.refresher import FullRefresher
from onerefresh.store import Conflict, Versioned

if TYPE_CHECKING:
    from onerefresh.testing import AuthServer

API = "https://api.acme.com"


# --- Refreshers: a function, an async one, one that keeps more, and the ready one ---


def refresh(token: Token) -> dict[str, object]:
    return {"access_token": "next", "refresh_token": token.reveal_refresh_token(), "expires_in": 3600}


async def arefresh(token: Token) -> Token:
    await asyncio.sleep(0)
    return Token("next", token.refresh_token, expires_in=3600.0)


def obtain() -> Token:
    return Token("first", expires_in=60.0)


endpoint = TokenEndpoint("https://acme.com/token", client_id="client", client_secret="secret")
by_function = Credential("acme", refresh, token={"access_token": "first", "refresh_token": "r"})
by_coroutine = Credential("acme", arefresh, token=Token("first", "r"), store="sqlite", profile="grace:30")
by_endpoint = Credential("acme", endpoint, store="sqlite", profile=Profile("acme", resend="never"), max_wait=5.0)
by_credentials = Credential("acme", refresh, obtain=obtain)
refreshed_late = Credential("acme", refresh, early=False)
refreshed_early = [Credential("acme", refresh, early=600), Credential("acme", refresh, early=0.5)]


# --- A credential ---


def use(acme: Credential) -> None:
    with acme as same:
        assert_type(same, Credential)
    token = acme.token()
    assert_type(token, Token)
    assert_type(acme.token(refused=token, max_wait=1.0), Token)
    assert_type(acme.token(refused=acme.bearer()), Token)
    assert_type(acme.token(min_valid=600), Token)
    assert_type(acme.current(), Token | None)
    assert_type(acme.bearer(), str)
    assert_type(acme.login({"access_token": "a"}), Token)
    assert_type(acme.retry(), Token)
    assert_type(acme.status(), Status)
    assert_type(token.reveal(), str)
    assert_type(token.refresh_token, Secret | None)
    assert_type(token.expires_at, float | None)
    assert_type(token.refresh_expires_at, float | None)
    assert_type(acme.status().clock_skew, float)
    assert_type(acme.logout(), LoggedOut)
    assert_type(acme.logout().detail, str)


async def ause(acme: Credential) -> None:
    async with acme as same:
        assert_type(same, Credential)
    token = await acme.atoken()
    assert_type(token, Token)
    assert_type(await acme.atoken(refused=token, min_valid=600), Token)
    assert_type(await acme.astatus(), Status)
    header: Callable[[], Awaitable[str]] = acme.abearer
    assert_type(await header(), str)


def judge(acme: Credential) -> float | None:
    try:
        acme.token()
    except LoginRequired as error:
        assert_type(error.proven, bool)
        assert_type(error.credential, str | None)
    except RefreshUnavailable as error:
        return error.retry_after
    return None


# --- Clients ---


def in_threads(acme: Credential) -> int:
    session = requests.Session()
    session.auth = for_requests.BearerAuth(acme, API)
    written: dict[str, str | Callable[[Token], str]] = {"?key": "{token}", "X-A": Token.reveal}
    session.mount(API, for_requests.BearerAdapter(acme, [API], attach=written, refused="slack"))
    with httpx2.Client(auth=for_httpx.BearerAuth(acme, API)) as client:
        return client.get(API).status_code


def ended(answer: ApiAnswer) -> bool | None:
    assert_type(answer.body, bytes)
    assert_type(answer.sent, bytes | None)
    return answer.status == 302 and answer.headers["Location"] == "/login"


async def in_a_loop(acme: Credential) -> int:
    rules = ["graphql", json_code({400, 403}, ["EXPIRED", 190], at="error.code"), RefusedWhen(ended, statuses=200)]
    async with aiohttp.ClientSession(middlewares=[for_aiohttp.BearerAuth(acme, API, refused=rules)]) as session:
        async with session.get(API) as answer:
            status = answer.status
    async with httpx2.AsyncClient(
        auth=for_httpx.BearerAuth(
            acme, API, attach="Token {token}", replace=True, refused_statuses={401}, refused=ended
        )
    ) as client:
        return status + (await client.get(API)).status_code


# --- SDKs ---


def with_sdks(acme: Credential) -> list[TokenCredential | SupportsTokenInfo | AsyncTokenCredential]:
    assert_type(for_google_auth.Credentials(acme, API).with_quota_project("payer").token, str | None)
    assert_type(for_google_auth.AsyncCredentials(acme, [API]).token, str | None)
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        assert_type(grpc.intercept_channel(channel, for_grpc.BearerInterceptor(acme)), grpc.Channel)
    with for_websockets.reconnect("wss://api.acme.com/feed", acme, open_timeout=3.0) as websocket:
        websocket.send("Hello")
    for_azure.BearerPolicy(acme, API, refused_statuses={401, 403})
    return [for_azure.TokenCredential(acme), for_azure.AsyncTokenCredential(acme)]


async def with_async_sdks(acme: Credential) -> None:
    interceptors = for_grpc.aio_interceptors(acme)
    async with grpc.aio.insecure_channel("127.0.0.1:1", interceptors=interceptors) as channel:
        assert_type(channel, grpc.aio.Channel)
    async with for_websockets.connect("wss://api.acme.com/feed", acme) as websocket:
        await websocket.send("Hello")
    async for websocket in for_websockets.connect("wss://api.acme.com/feed", acme, refused_statuses={403}):
        await websocket.send("Hello")


# --- Many credentials, a store of one's own, events ---


def many() -> Credentials:
    customers = Credentials(refresh, store="postgresql://app@db/app", refresher_for=lambda key: None, limit=None)
    assert_type(customers["customer-42"], Credential)
    assert_type(customers.refresh_due(within=300.0).refreshed, int)
    assert_type(customers.refresh_due(unused_for=86_400.0).refreshed, int)
    return customers


class InADict(Store):
    name = "a dict"

    def __init__(self) -> None:
        self._records: dict[str, Versioned] = {}

    def load(self, key: str) -> Versioned | None:
        return self._records.get(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        present = self._records.get(key)
        if (present.version if present else None) != expected:
            raise Conflict(key)
        version = str(int(expected or "0") + 1)
        self._records[key] = Versioned(version, body)
        return version


def listen(event: Event) -> None:
    if event.kind is Kind.REFRESHED:
        assert_type(event.generation, int)


assert_type(subscribe(listen), Callable[[], None])
assert_type(onerefresh.load("acme"), Credential)
in_a_dict = Credential("acme", refresh, store=InADict())


# --- Testing ---


def test_it(auth_server: AuthServer) -> None:
    assert_type(auth_server.counters.token_requests, int)
    auth_server.revoke_access()


def test_it_in_another_process() -> None:
    from onerefresh.testing import RemoteServer

    with RemoteServer.start("grace", grace=5.0) as server:
        assert_type(server, RemoteServer)
        assert_type(server.api_url, str)


class EverythingAboutItself:
    """A refresher with all that may be said of one."""

    identity, host, timeout, renews_from_access = "keys of example.com", "example.com", 5.0, False
    settings = ("a client",)
    profile, limit, bearer_field = "okta", 4, "id_token"

    def __call__(self, token: Token) -> Token:
        return token

    async def obtain(self) -> Token:
        return Token("first")

    def prepare(self) -> None: ...
    def revoke(self, token: Token) -> None: ...
    def answer_of(self, answer: Mapping[str, object]) -> Mapping[str, object]:
        return answer


def servers_of_their_own_kind() -> None:
    TokenEndpoint(
        "https://acme.com/token",
        client_id="cli",
        client_secret="s3cret",
        client_auth="client_secret_basic_plain",
        client_id_in_body=True,
        renamed={"client_id": "client_key"},
        answer="data",
        dead=["GONE", {"status": 403, "error.code": ["A", "B"]}, lambda answer: answer.status == 400],
        busy="LATER",
    )
    shop = JsonEndpoint(
        "https://acme.com/refresh",
        method="PUT",
        body={"token": "{refresh_token}", "more": [{"x": 1}]},
        headers={"X-Key": Secret("key"), "X-CSRF": "{csrf}"},
        cookies={"rt": lambda: "value"},
        fields={"access_token": "data.token"},
        keep={"csrf": "cookie:csrf"},
        logout={"url": "https://acme.com/logout", "method": "DELETE", "headers": {"X-Key": Secret("key")}},
        dead=401,
    )
    JsonEndpoint(API, grant="client_credentials", body={"id": "a", "secret": Secret("b")}, logout=API)
    with Credential("shop", shop, token=shop.answer_of({"data": {}}, cookies={"rt": "x"})) as acme:
        assert_type(acme.token(), Token)
    for ready in (directus(API), pocketbase(API, collection="x"), flask_jwt_extended(API, cookies=True)):
        assert_type(ready, JsonEndpoint)
    supabase(API, api_key="key", timeout=5.0)


def a_full_refresher() -> FullRefresher:
    return EverythingAboutItself()
