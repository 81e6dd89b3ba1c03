"""What people put beneath and around a client to repeat failed calls: it takes one token request, and is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import aiohttp_retry
import httpx
import httpx2
import httpx_retries
import pytest
import requests
import tenacity
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from onerefresh import ConfigurationError, Credential
from onerefresh.clients.aiohttp import BearerAuth as AiohttpAuth
from onerefresh.clients.httpx import BearerAuth as HttpxAuth
from onerefresh.clients.httpx import BearerTransport
from onerefresh.clients.requests import BearerAdapter, BearerAuth
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

STATUSES = [401, 429, 503]


@pytest.fixture
def acme(auth_server: AuthServer) -> Credential:
    """A credential whose token the API refuses."""
    login = TokenEndpoint(
        auth_server.token_url, client_id=auth_server.client_id, client_secret=auth_server.client_secret
    )
    credential = Credential("acme", login, token=auth_server.issue())
    auth_server.revoke_access()
    return credential


def retry(**options: object) -> Retry:
    return Retry(3, status_forcelist=STATUSES, backoff_factor=0.0, **options)  # type: ignore[arg-type]  # any of Retry's


def works_once_refreshed(auth_server: AuthServer, get: Callable[[str], object], *, refusals: int = 1) -> None:
    assert [get(f"{auth_server.api_url}/items/{number}") for number in range(5)] == [200] * 5
    assert auth_server.counters.token_requests == 1
    assert auth_server.counters.api[401] == refusals


@pytest.mark.parametrize("raises", [True, False])
def test_an_adapter_lets_nothing_beneath_it_repeat_a_refused_token(
    acme: Credential, auth_server: AuthServer, raises: bool
) -> None:
    below = HTTPAdapter(max_retries=retry(raise_on_status=raises))
    with requests.Session() as session:
        session.mount(auth_server.url, BearerAdapter(acme, auth_server.url, below))
        works_once_refreshed(auth_server, lambda url: session.get(url).status_code)
        assert below.max_retries.status_forcelist == STATUSES


def test_it_repeats_other_failures_as_before(acme: Credential, auth_server: AuthServer) -> None:
    with requests.Session() as session:
        session.mount(auth_server.url, BearerAdapter(acme, auth_server.url, HTTPAdapter(max_retries=retry())))
        with pytest.raises(requests.exceptions.RetryError, match="too many 503"):
            session.get(f"{auth_server.api_url}/status/503")
    assert auth_server.counters.api[503] == 4


def test_the_adapter_beneath_keeps_its_class_and_its_connections(acme: Credential, auth_server: AuthServer) -> None:
    class Counting(HTTPAdapter):
        sent = 0

        def send(self, *given: object, **options: object) -> requests.Response:
            type(self).sent += 1
            return super().send(*given, **options)  # type: ignore[arg-type]  # as they came

    below = Counting(max_retries=retry(), pool_maxsize=7)
    with requests.Session() as session:
        session.mount(auth_server.url, BearerAdapter(acme, auth_server.url, below))
        works_once_refreshed(auth_server, lambda url: session.get(url).status_code)
        pools = below.poolmanager.pools
        assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118 - it is no dict
    assert Counting.sent == 6


def test_an_auth_says_why_it_cannot_see_the_refusal(acme: Credential, auth_server: AuthServer) -> None:
    with requests.Session() as session:
        session.auth = BearerAuth(acme, auth_server.url)
        session.mount("http://", HTTPAdapter(max_retries=retry()))
        with pytest.raises(ConfigurationError, match=r"status 401.*status_forcelist.*BearerAdapter"):
            session.get(f"{auth_server.api_url}/items")
        assert auth_server.counters.api == {}
        with pytest.raises(ConfigurationError):
            requests.sessions.Session.request(session, "POST", f"{auth_server.api_url}/items", data=b"x")
        session.mount(auth_server.url, HTTPAdapter(max_retries=retry(allowed_methods=None).new(status_forcelist=[503])))
        works_once_refreshed(auth_server, lambda url: session.get(url).status_code)


def test_a_retry_for_another_origin_is_no_concern(acme: Credential, auth_server: AuthServer) -> None:
    with requests.Session() as session:
        session.auth = BearerAuth(acme, auth_server.url)
        session.mount("https://other.example.com/", HTTPAdapter(max_retries=retry()))
        works_once_refreshed(auth_server, lambda url: session.get(url).status_code)


def test_an_auth_works_where_the_last_answer_comes_back(acme: Credential, auth_server: AuthServer) -> None:
    """urllib3 repeats the refused token in vain, three times, and then returns the refusal."""
    with requests.Session() as session:
        session.auth = BearerAuth(acme, auth_server.url)
        session.mount("http://", HTTPAdapter(max_retries=retry(raise_on_status=False)))
        works_once_refreshed(auth_server, lambda url: session.get(url).status_code, refusals=4)


@pytest.mark.parametrize("retries", [3, Retry(3), Retry(3, status_forcelist=[500, 503])])
def test_retries_that_leave_refusals_alone_are_none_of_our_business(
    acme: Credential, auth_server: AuthServer, retries: int | Retry
) -> None:
    with requests.Session() as session:
        session.auth = BearerAuth(acme, auth_server.url)
        session.mount("http://", HTTPAdapter(max_retries=retries))
        works_once_refreshed(auth_server, lambda url: session.get(url).status_code)


def test_so_do_other_statuses_that_refuse_a_token(acme: Credential, auth_server: AuthServer) -> None:
    below = HTTPAdapter(max_retries=Retry(2, status_forcelist=[403]))
    with requests.Session() as session:
        session.auth = BearerAuth(acme, auth_server.url, refused_statuses={401, 403})
        session.mount("http://", below)
        with pytest.raises(ConfigurationError, match="status 403"):
            session.get(f"{auth_server.api_url}/items")


def test_httpx_retries_around_and_beneath(acme: Credential, auth_server: AuthServer) -> None:
    rule = httpx_retries.Retry(total=2, status_forcelist=STATUSES, backoff_factor=0.0)
    around = httpx_retries.RetryTransport(BearerTransport(acme, auth_server.url), retry=rule)
    with httpx.Client(transport=around) as client:
        works_once_refreshed(auth_server, lambda url: client.get(url).status_code)
    auth_server.revoke_access()
    beneath = httpx_retries.RetryTransport(retry=rule)
    with httpx.Client(transport=beneath, auth=HttpxAuth(acme, auth_server.url)) as client:
        assert client.get(f"{auth_server.api_url}/items").status_code == 200
    assert auth_server.counters.token_requests == 2
    assert auth_server.counters.api[401] == 1 + 3, "repeated in vain beneath the auth, twice"


def test_aiohttp_retry_around(acme: Credential, auth_server: AuthServer) -> None:
    async def call() -> list[int]:
        async with aiohttp.ClientSession(middlewares=(AiohttpAuth(acme, auth_server.url),)) as session:
            rule = aiohttp_retry.ExponentialRetry(3, start_timeout=0.0, statuses=set(STATUSES))
            client = aiohttp_retry.RetryClient(session, retry_options=rule)
            found = []
            for number in range(5):
                async with client.get(f"{auth_server.api_url}/items/{number}") as answer:
                    found.append(answer.status)
            return found

    assert asyncio.run(call()) == [200] * 5
    assert auth_server.counters.token_requests == 1
    assert auth_server.counters.api[401] == 1


def test_tenacity_around(acme: Credential, auth_server: AuthServer) -> None:
    with httpx2.Client(auth=HttpxAuth(acme, auth_server.url)) as client:

        @tenacity.retry(stop=tenacity.stop_after_attempt(3))
        def get(url: str) -> int:
            return client.get(url).raise_for_status().status_code

        works_once_refreshed(auth_server, get)
