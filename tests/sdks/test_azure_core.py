"""`onerefresh.clients.azure` with the real azure-core, in pipelines as Azure's generated clients build them."""

from __future__ import annotations

import asyncio
import copy
import io
import logging
import pickle
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.pipeline import AsyncPipeline, Pipeline, policies
from azure.core.pipeline.transport import AioHttpTransport, RequestsTransport
from azure.core.pipeline.transport import HttpRequest as OldRequest
from azure.core.rest import HttpRequest
from tests.sdks.adapters import astorm, credential_for, end_session, storm

from onerefresh import ConfigurationError, Credential, InteractionRequired, LoginRequired, Token
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import requests as for_requests
from onerefresh.clients.azure import AsyncTokenCredential, BearerPolicy, TokenCredential
from onerefresh.testing import AuthServer


@pytest.fixture
def acme(server: AuthServer) -> Credential:
    return credential_for(server)


@contextmanager
def client_with(policy: Any, server: AuthServer, **options: Any) -> Iterator[PipelineClient[Any, Any]]:
    """A client with the policies of one that Microsoft's generator makes."""
    chain = [
        policies.RequestIdPolicy(),
        policies.HeadersPolicy(),
        policies.UserAgentPolicy("test"),
        policies.ProxyPolicy(),
        policies.ContentDecodePolicy(),
        policies.RedirectPolicy(),
        policies.RetryPolicy(retry_backoff_factor=0),
        policy,
        policies.NetworkTraceLoggingPolicy(),
        policies.SensitiveHeaderCleanupPolicy(),
        policies.HttpLoggingPolicy(),
    ]
    with PipelineClient[Any, Any](server.url, policies=chain, **options) as client:
        yield client


@asynccontextmanager
async def async_client_with(policy: Any, server: AuthServer, **options: Any) -> AsyncIterator[Any]:
    chain = [
        policies.RequestIdPolicy(),
        policies.ContentDecodePolicy(),
        policies.AsyncRedirectPolicy(),
        policies.AsyncRetryPolicy(retry_backoff_factor=0),
        policy,
        policies.SensitiveHeaderCleanupPolicy(),
        policies.HttpLoggingPolicy(),
    ]
    async with AsyncPipelineClient[Any, Any](server.url, policies=chain, **options) as client:
        yield client


def test_a_storm_causes_one_token_request(server: AuthServer, acme: Credential) -> None:
    with client_with(BearerPolicy(acme, server.url), server) as client:

        def call(number: int) -> int:
            return int(client.send_request(HttpRequest("GET", f"{server.api_url}/items/{number}")).status_code)

        assert storm(server, call) == [200] * 20
    assert server.counters.token_requests == 1


def test_a_storm_of_tasks_causes_one_token_request(server: AuthServer, acme: Credential) -> None:
    async def main() -> list[int]:
        async with async_client_with(BearerPolicy(acme, server.url), server) as client:

            async def call(number: int) -> int:
                answer = await client.send_request(HttpRequest("GET", f"{server.api_url}/items/{number}"))
                return int(answer.status_code)

            return await astorm(server, call)

    assert asyncio.run(main()) == [200] * 20
    assert server.counters.token_requests == 1


def test_a_storm_of_streams_causes_one_token_request(server: AuthServer, acme: Credential) -> None:
    with client_with(BearerPolicy(acme, server.url), server) as client:

        def call(number: int) -> int:
            answer = client.send_request(HttpRequest("GET", f"{server.api_url}/items/{number}"), stream=True)
            assert b"".join(answer.iter_bytes())
            return int(answer.status_code)

        assert storm(server, call) == [200] * 20
    assert server.counters.token_requests == 1


def test_clients_through_a_transport_cause_one_token_request_with_azures_own_policy(
    server: AuthServer, acme: Credential
) -> None:
    """For clients without ``authentication_policy``, such as those of Storage and Key Vault."""
    session = requests.Session()
    session.mount(server.url, for_requests.BearerAdapter(acme, server.url, replace=True))
    policy = policies.BearerTokenCredentialPolicy(TokenCredential(acme), "scope")
    with client_with(policy, server, transport=RequestsTransport(session=session, session_owner=False)) as client:

        def call(number: int) -> int:
            request = HttpRequest("GET", f"{server.api_url}/items/{number}")
            return int(client.send_request(request, enforce_https=False).status_code)

        assert storm(server, call) == [200] * 20
    session.close()
    assert server.counters.token_requests == 1


def test_async_clients_through_a_transport_cause_one_token_request(server: AuthServer, acme: Credential) -> None:
    async def main() -> list[int]:
        policy = policies.AsyncBearerTokenCredentialPolicy(AsyncTokenCredential(acme), "scope")
        auth = for_aiohttp.BearerAuth(acme, server.url, replace=True)
        async with aiohttp.ClientSession(middlewares=(auth,)) as session:
            transport = AioHttpTransport(session=session, session_owner=False)
            async with async_client_with(policy, server, transport=transport) as client:

                async def call(number: int) -> int:
                    request = HttpRequest("GET", f"{server.api_url}/items/{number}")
                    return int((await client.send_request(request, enforce_https=False)).status_code)

                return await astorm(server, call)

    assert asyncio.run(main()) == [200] * 20
    assert server.counters.token_requests == 1


def test_azures_own_policy_does_not_tell_of_a_refusal(server: AuthServer, acme: Credential) -> None:
    """This is what the guide warns of."""
    policy = policies.BearerTokenCredentialPolicy(TokenCredential(acme), "scope")
    server.revoke_access()
    with client_with(policy, server) as client:
        for _ in range(2):
            answer = client.send_request(HttpRequest("GET", f"{server.api_url}/items"), enforce_https=False)
            assert answer.status_code == 401
    assert server.counters.token_requests == 0


def test_azures_own_policy_uses_the_newest_token(server: AuthServer, acme: Credential) -> None:
    policy = policies.BearerTokenCredentialPolicy(TokenCredential(acme), "scope")
    request = HttpRequest("GET", f"{server.api_url}/items")
    with client_with(policy, server) as client:
        assert client.send_request(request, enforce_https=False).status_code == 200
        server.revoke_access()
        acme.token(refused=acme.token())
        assert client.send_request(request, enforce_https=False).status_code == 200


def test_a_session_that_is_over_raises_login_required_as_itself(server: AuthServer, acme: Credential) -> None:
    end_session(server)
    with client_with(BearerPolicy(acme, server.url), server) as client, pytest.raises(LoginRequired):
        client.send_request(HttpRequest("GET", f"{server.api_url}/items"))

    async def main() -> None:
        async with async_client_with(BearerPolicy(acme, server.url), server) as client:
            await client.send_request(HttpRequest("GET", f"{server.api_url}/items"))

    with pytest.raises(LoginRequired):
        asyncio.run(main())
    assert server.counters.token_requests == 1


def test_a_claims_challenge_is_for_a_person(server: AuthServer, acme: Credential) -> None:
    server.refuse_with("insufficient_claims")
    server.revoke_access()
    request = HttpRequest("GET", f"{server.api_url}/items")
    with client_with(BearerPolicy(acme, server.url), server) as client, pytest.raises(InteractionRequired) as raised:
        client.send_request(request)
    assert "claims=" in (raised.value.challenge or "")
    policy = policies.BearerTokenCredentialPolicy(TokenCredential(acme), "scope")
    with client_with(policy, server) as client, pytest.raises(InteractionRequired) as raised:
        client.send_request(request, enforce_https=False)
    assert raised.value.challenge == '{"access_token":{}}'
    assert server.counters.token_requests == 0


def test_an_api_that_refuses_each_token_gets_two_calls(server: AuthServer, acme: Credential) -> None:
    with client_with(BearerPolicy(acme, server.url), server) as client:
        for _ in range(5):
            assert client.send_request(HttpRequest("GET", f"{server.api_url}/refused")).status_code == 401
    assert (server.counters.token_requests, server.counters.api) == (1, {401: 6})


def test_the_token_goes_to_no_other_origin(server: AuthServer, acme: Credential) -> None:
    with client_with(BearerPolicy(acme, server.url), server) as client:
        client.send_request(HttpRequest("GET", f"{server.foreign.url}/anything"))
        client.send_request(HttpRequest("GET", f"{server.api_url}/redirect?to={server.foreign.url}/elsewhere"))
    assert server.counters.foreign == 2
    assert server.foreign.authorizations == []


def test_a_redirect_within_the_origin_keeps_the_token(server: AuthServer, acme: Credential) -> None:
    with client_with(BearerPolicy(acme, server.url), server) as client:
        server.revoke_access()
        assert client.send_request(HttpRequest("GET", f"{server.api_url}/redirect?to=/api/items")).status_code == 200
    assert server.counters.token_requests == 1


BODIES: dict[str, tuple[Callable[[], dict[str, Any]], int]] = {
    "bytes": (lambda: {"content": b"body"}, 4),
    "json": (lambda: {"json": {"a": 1}}, 8),
    "form": (lambda: {"data": {"a": "1"}}, 3),
    "file": (lambda: {"content": io.BytesIO(b"body")}, 4),
    "multipart": (lambda: {"files": {"a": ("name", io.BytesIO(b"body"))}}, 100),
}
"""What is sent, and how long that is, at least."""


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_is_sent_again_whole(server: AuthServer, acme: Credential, kind: str) -> None:
    made, length = BODIES[kind]
    server.revoke_access()
    with client_with(BearerPolicy(acme, server.url), server) as client:
        answer = client.send_request(HttpRequest("POST", f"{server.api_url}/items", **made()))
    assert answer.status_code == 200
    assert answer.json()["body_length"] >= length
    assert server.counters.token_requests == 1


def test_a_file_that_aiohttp_has_closed_is_not_sent_again(server: AuthServer, acme: Credential, tmp_path: Path) -> None:
    """As the guide says."""

    async def main() -> list[int]:
        async with async_client_with(BearerPolicy(acme, server.url), server) as client:
            statuses: list[int] = []
            for _ in range(2):
                with (tmp_path / "file").open("rb") as file:
                    answer = await client.send_request(HttpRequest("POST", f"{server.api_url}/items", content=file))
                    statuses.append(answer.status_code)
            return statuses

    (tmp_path / "file").write_bytes(b"body")
    server.revoke_access()
    assert asyncio.run(main()) == [401, 200]
    assert server.counters.token_requests == 1


def test_a_body_that_is_used_up_is_not_sent_again(server: AuthServer, acme: Credential) -> None:
    server.revoke_access()
    with client_with(BearerPolicy(acme, server.url), server) as client:
        answer = client.send_request(HttpRequest("POST", f"{server.api_url}/items", content=iter([b"bo", b"dy"])))
        assert (answer.status_code, answer.json()) == (401, {"error": "invalid_token"})
        assert client.send_request(HttpRequest("GET", f"{server.api_url}/items")).status_code == 200
    assert server.counters.token_requests == 1


def test_requests_and_answers_of_the_older_kind_are_served(server: AuthServer, acme: Credential) -> None:
    server.revoke_access()
    with Pipeline[Any, Any](RequestsTransport(), [BearerPolicy(acme, server.url)]) as pipeline:
        file: Any = io.BytesIO(b"body")
        request = OldRequest("POST", f"{server.api_url}/items", data=file)
        assert pipeline.run(request).http_response.status_code == 200
        refused = pipeline.run(OldRequest("GET", f"{server.api_url}/refused")).http_response
        assert (refused.status_code, refused.body()) == (401, b'{"error": "invalid_token"}')

    async def main() -> None:
        async with AsyncPipeline[Any, Any](AioHttpTransport(), [BearerPolicy(acme, server.url)]) as pipeline:
            server.revoke_access()
            request = OldRequest("POST", f"{server.api_url}/items", data=b"body")
            assert (await pipeline.run(request)).http_response.status_code == 200
            refused = (await pipeline.run(OldRequest("GET", f"{server.api_url}/refused"))).http_response
            assert (refused.status_code, refused.body()) == (401, b'{"error": "invalid_token"}')

    acme.login(server.issue())
    asyncio.run(main())


def test_a_call_of_a_task_to_another_origin_goes_without_the_token(server: AuthServer, acme: Credential) -> None:
    async def main() -> None:
        async with async_client_with(BearerPolicy(acme, server.url), server) as client:
            away = f"{server.api_url}/redirect?to={server.foreign.url}/elsewhere"
            await client.send_request(HttpRequest("GET", away))

    asyncio.run(main())
    assert server.counters.foreign == 1
    assert server.foreign.authorizations == []


def test_a_policy_above_another_one_is_served(server: AuthServer, acme: Credential) -> None:
    server.revoke_access()
    chain = [BearerPolicy(acme, server.url), BearerPolicy(acme, server.url)]
    with Pipeline[Any, Any](RequestsTransport(), chain) as pipeline:
        assert pipeline.run(HttpRequest("GET", f"{server.api_url}/items")).http_response.status_code == 200
    assert server.counters.token_requests == 1


def test_a_token_that_is_needed_first_is_waited_for(server: AuthServer) -> None:
    acme = credential_for(server, expired=True)
    with client_with(BearerPolicy(acme, server.url), server) as client, ThreadPoolExecutor(20) as pool:
        request = [HttpRequest("GET", f"{server.api_url}/items/{number}") for number in range(20)]
        assert [answer.status_code for answer in pool.map(client.send_request, request)] == [200] * 20
    assert (server.counters.token_requests, server.counters.api) == (1, {200: 20})


def test_what_clients_get_of_a_credential(server: AuthServer, acme: Credential) -> None:
    token = acme.token()
    assert token.expires_at is not None
    with TokenCredential(acme) as credential:
        found = credential.get_token("scope", tenant_id="tenant", enable_cae=True)
        assert (found.token, found.expires_on) == (token.reveal(), int(token.expires_at))
        info = credential.get_token_info("scope", options={"tenant_id": "tenant"})
        assert (info.token, info.expires_on, info.token_type) == (token.reveal(), int(token.expires_at), "Bearer")
    assert token.reveal() not in f"{found!r} {info!r} {credential!r}"
    assert acme.token() is token  # closing the one has not closed the other

    async def main() -> tuple[str, str]:
        async with AsyncTokenCredential(acme) as credential:
            return (await credential.get_token("s")).token, (await credential.get_token_info("s")).token

    assert asyncio.run(main()) == (token.reveal(), token.reveal())


def test_a_token_without_an_end_is_asked_for_again() -> None:
    acme = Credential("acme", lambda token: token, token=Token("a", "r", expires_at=None))
    found = TokenCredential(acme).get_token("scope")
    assert time.time() < found.expires_on <= time.time() + 300


def test_wrong_arguments_say_so(acme: Credential) -> None:
    with pytest.raises(ConfigurationError, match=r"must be an onerefresh\.Credential, not TokenCredential"):
        BearerPolicy(TokenCredential(acme), "https://api.example")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"must be an onerefresh\.Credential, not str"):
        TokenCredential("acme")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="more than an origin"):
        BearerPolicy(acme, "https://api.example/path")


def test_copies_and_pickles(acme: Credential) -> None:
    for thing in (BearerPolicy(acme, "https://api.example"), TokenCredential(acme), AsyncTokenCredential(acme)):
        assert copy.deepcopy([thing])[0] is thing
        with pytest.raises(TypeError, match="cannot be pickled: make it in the other process"):
            pickle.dumps(thing)


def test_nothing_logs_the_token(server: AuthServer, acme: Credential, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.revoke_access()
    with client_with(BearerPolicy(acme, server.url), server) as client:
        client.send_request(HttpRequest("GET", f"{server.api_url}/items"))
    assert "Request URL" in caplog.text
    assert "test-access-" not in caplog.text
