"""What is particular to httpx2 and httpx."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import httpx2
import pytest

from onerefresh import ConfigurationError, Credential
from onerefresh.clients.httpx import BearerAuth, BearerTransport
from onerefresh.testing import AuthServer

API = "http://api.acme.com"
PACKAGES = pytest.mark.parametrize("package", [httpx2, httpx], ids=["httpx2", "httpx"])


def refuse_first(token: object) -> dict[str, object]:
    return {"access_token": "test-access-second", "refresh_token": "test-refresh-second"}


@pytest.fixture
def acme() -> Credential:
    seed = {"access_token": "test-access-first", "refresh_token": "test-refresh-first"}
    return Credential("acme", refuse_first, token=seed)


@PACKAGES
def test_one_object_serves_sync_and_async_clients(package: Any, server: AuthServer, credential: Credential) -> None:
    auth = BearerAuth(credential, server.url)
    transport = BearerTransport(credential, server.url)

    async def asynchronous() -> list[int]:
        async with package.AsyncClient(auth=auth) as one, package.AsyncClient(mounts={"all://": transport}) as two:
            return [(await client.get(server.api_url + "/a")).status_code for client in (one, two)]

    with package.Client(auth=auth) as one, package.Client(mounts={server.url: transport}) as two:
        assert [client.get(server.api_url + "/a").status_code for client in (one, two)] == [200, 200]
    server.revoke_access()
    assert asyncio.run(asynchronous()) == [200, 200]
    assert server.counters.token_requests == 1


def test_one_transport_object_serves_one_package_and_says_so_by_its_answers(
    server: AuthServer, credential: Credential
) -> None:
    for package in (httpx2, httpx):
        with package.Client(transport=BearerTransport(credential, server.url)) as client:
            assert isinstance(client.get(server.api_url + "/a"), package.Response)


@PACKAGES
def test_the_request_that_a_caller_sees_holds_no_token_in_the_transport_form(
    package: Any, server: AuthServer, credential: Credential
) -> None:
    with package.Client(transport=BearerTransport(credential, server.url)) as client:
        response = client.get(server.api_url + "/a")
    assert response.status_code == 200
    assert "authorization" not in response.request.headers


@PACKAGES
def test_the_auth_form_refuses_a_header_that_httpx_would_carry_elsewhere(package: Any, acme: Credential) -> None:
    with pytest.raises(ConfigurationError, match="use BearerTransport"):
        BearerAuth(acme, API, header="X-Api-Key")
    assert isinstance(BearerAuth(acme, API, header="authorization"), package.Auth)


@PACKAGES
def test_a_redirect_that_the_caller_follows_by_hand_has_the_present_token(
    package: Any, server: AuthServer, credential: Credential
) -> None:
    with package.Client(auth=BearerAuth(credential, server.url)) as client:
        response = client.get(f"{server.api_url}/redirect?to=/api/there")
        server.revoke_access()
        assert response.next_request is not None
        there = client.send(response.next_request)
        assert (there.status_code, there.json()["path"]) == (200, "/api/there")
        away = client.get(f"{server.api_url}/redirect?to={server.foreign.url}/there")
        assert client.send(away.next_request).status_code == 200
    assert server.foreign.authorizations == []
    assert server.counters.token_requests == 1


@PACKAGES
def test_a_request_that_is_sent_twice_has_the_present_token_each_time(
    package: Any, server: AuthServer, credential: Credential
) -> None:
    with package.Client(auth=BearerAuth(credential, server.url)) as client:
        request = client.build_request("GET", server.api_url + "/a")
        assert client.send(request).json()["generation"] == 1
        server.revoke_access()
        assert client.get(server.api_url + "/b").json()["generation"] == 2
        assert client.send(request).json()["generation"] == 2
    assert server.counters.api == {200: 3, 401: 1}


@PACKAGES
def test_a_host_that_redirects_to_its_own_tls_gets_the_token_there_and_no_other_host_does(
    package: Any, acme: Credential
) -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: Any) -> Any:
        seen.append((str(request.url), request.headers.get("authorization")))
        if request.url.path == "/":
            return package.Response(308, headers={"Location": "https://api.acme.com/up"})
        if request.url.path == "/up":
            return package.Response(308, headers={"Location": "https://evil.com/away"})
        return package.Response(200)

    transport = package.MockTransport(answer)
    with package.Client(auth=BearerAuth(acme, API), transport=transport, follow_redirects=True) as client:
        assert client.get(API + "/").status_code == 200
    assert [(url.rstrip("/"), bool(held)) for url, held in seen] == [
        ("http://api.acme.com", True),
        ("https://api.acme.com/up", True),
        ("https://evil.com/away", False),
    ]


@PACKAGES
def test_answers_that_a_mock_or_a_hook_has_read_already_do_no_harm(package: Any, acme: Credential) -> None:
    def answer(request: Any) -> Any:
        fresh = request.headers["authorization"] == "Bearer test-access-second"
        return package.Response(200 if fresh else 401, json={"fresh": fresh})

    def read(response: Any) -> None:
        response.read()

    hooks = {"response": [read]}
    with package.Client(
        auth=BearerAuth(acme, API), transport=package.MockTransport(answer), event_hooks=hooks
    ) as client:
        response = client.get(API + "/")
    assert response.json() == {"fresh": True}
    assert [first.json() for first in response.history] == [{"fresh": False}]


def breaking_off(package: Any) -> Any:
    """A body that ends with an error, for sync and async clients; it knows whether it was closed."""

    class BreakingOff(package.SyncByteStream, package.AsyncByteStream):  # type: ignore[misc]  # of a given package
        closed = False

        def __iter__(self) -> Iterator[bytes]:
            yield b"half"
            raise package.ReadError("broken off")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"half"
            raise package.ReadError("broken off")

        def close(self) -> None:
            self.closed = True

        async def aclose(self) -> None:
            self.closed = True

    return BreakingOff()


@PACKAGES
@pytest.mark.parametrize("form", ["auth", "transport"])
def test_a_refusal_that_breaks_off_is_closed_and_raises_the_clients_own_error_with_its_request(
    package: Any, form: str, acme: Credential
) -> None:
    bodies: list[Any] = []

    def answer(request: Any) -> Any:
        bodies.append(breaking_off(package))
        return package.Response(401, stream=bodies[-1])

    mock = package.MockTransport(answer)
    settings: dict[str, Any] = {"transport": BearerTransport(acme, API, mock)}
    if form == "auth":
        settings = {"auth": BearerAuth(acme, API), "transport": mock}

    async def asynchronous() -> None:
        async with package.AsyncClient(**settings) as client:
            await client.get(API + "/a")

    with package.Client(**settings) as client, pytest.raises(package.ReadError) as caught:
        client.get(API + "/a")
    assert str(caught.value.request.url) == API + "/a"
    with pytest.raises(package.ReadError) as caught:
        asyncio.run(asynchronous())
    assert str(caught.value.request.url) == API + "/a"
    assert [body.closed for body in bodies] == [True, True]


@PACKAGES
def test_the_time_that_a_returned_refusal_took_can_be_asked(
    package: Any, server: AuthServer, credential: Credential
) -> None:
    with package.Client(auth=BearerAuth(credential, server.url)) as client:
        assert client.get(server.api_url + "/refused").elapsed.total_seconds() > 0


def test_a_transport_that_is_none_is_refused(acme: Credential) -> None:
    with pytest.raises(ConfigurationError, match="transport must be a transport"):
        BearerTransport(acme, API, "https://api.acme.com")


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from onerefresh import OnerefreshError
try:
    import onerefresh.clients.{client}
except OnerefreshError as error:
    print(error)
else:
    print("imported", sorted({blocked!r} & set(sys.modules)))
"""


@pytest.mark.seconds
@pytest.mark.parametrize(
    ("client", "blocked", "says"),
    [
        ("httpx", {"httpx", "httpx2"}, "pip install 'onerefresh[httpx]'"),
        ("httpx", {"httpx"}, "imported []"),
        ("httpx", {"httpx2"}, "imported []"),
        ("requests", {"requests"}, "pip install 'onerefresh[requests]'"),
        ("requests", {"aiohttp", "httpx", "httpx2"}, "imported []"),
        ("aiohttp", {"aiohttp"}, "pip install 'onerefresh[aiohttp]'"),
        ("aiohttp", {"requests", "httpx", "httpx2"}, "imported []"),
    ],
)
def test_a_missing_client_is_named_with_the_extra_that_brings_it(client: str, blocked: set[str], says: str) -> None:
    program = BLOCKED.format(client=client, blocked=blocked)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert says in done.stdout


@pytest.mark.seconds
def test_httpx2_may_stand_in_for_httpx() -> None:
    program = "import httpx2; httpx2.alias_httpx(); import onerefresh.clients.httpx as ours; import httpx; "
    program += "assert httpx is httpx2 and issubclass(ours.BearerAuth, httpx.Auth)"
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
