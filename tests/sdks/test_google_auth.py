"""`onerefresh.clients.google_auth` with the real google-auth, on requests, urllib3 and aiohttp."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import os
import pickle
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.auth.aio.transport.sessions import AsyncAuthorizedSession
from google.auth.credentials import AnonymousCredentials, TokenState
from google.auth.transport.requests import AuthorizedSession, Request
from google.auth.transport.urllib3 import AuthorizedHttp
from tests.sdks.adapters import astorm, credential_for, end_session, storm

from onerefresh import ConfigurationError, Credential, LoginRequired, RefresherFailed, Token
from onerefresh.clients.google_auth import AsyncCredentials, Credentials
from onerefresh.clients.requests import BearerAdapter
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer


@pytest.fixture
def acme(server: AuthServer) -> Credential:
    return credential_for(server)


@asynccontextmanager
async def opened(credentials: Any) -> AsyncIterator[Any]:
    session = AsyncAuthorizedSession(credentials)
    try:
        yield session
    finally:
        await session.close()


def items(server: AuthServer, number: int = 1) -> str:
    return f"{server.api_url}/items/{number}"


def test_a_storm_of_an_authorized_session_causes_one_token_request(server: AuthServer, acme: Credential) -> None:
    with AuthorizedSession(Credentials(acme, server.url)) as session:
        answers = storm(server, lambda number: session.get(items(server, number)).status_code)
    assert (answers, server.counters.token_requests) == ([200] * 20, 1)


def test_a_storm_of_urllib3_causes_one_token_request(server: AuthServer, acme: Credential) -> None:
    http = AuthorizedHttp(Credentials(acme, server.url))
    answers = storm(server, lambda number: http.request("GET", items(server, number)).status)
    http.http.clear()
    assert (answers, server.counters.token_requests) == ([200] * 20, 1)


def test_sessions_with_credentials_of_their_own_share_one_token_request(server: AuthServer, acme: Credential) -> None:
    def call(number: int) -> int:
        with AuthorizedSession(Credentials(acme, server.url)) as session:
            return int(session.get(items(server, number)).status_code)

    assert storm(server, call) == [200] * 20
    assert server.counters.token_requests == 1


@pytest.mark.parametrize("kind", [AsyncCredentials, Credentials])
def test_a_storm_of_an_async_session_causes_one_token_request(server: AuthServer, acme: Credential, kind: Any) -> None:
    async def main() -> list[int]:
        async with opened(kind(acme, server.url)) as session:

            async def call(number: int) -> int:
                answer = await session.get(items(server, number))
                await answer.read()
                return int(answer.status_code)

            return await astorm(server, call)

    assert asyncio.run(main()) == [200] * 20
    assert server.counters.token_requests == 1


def test_async_sessions_of_several_share_one_token_request(server: AuthServer, acme: Credential) -> None:
    """Each session refreshes once for itself, so only the refused token tells that another has done so."""

    async def call(number: int) -> int:
        async with opened(AsyncCredentials(acme, server.url)) as session:
            answer = await session.get(items(server, number))
            await answer.read()
            return int(answer.status_code)

    assert asyncio.run(astorm(server, call)) == [200] * 20
    assert server.counters.token_requests == 1


def test_a_late_refusal_of_an_older_token_refreshes_nothing(server: AuthServer, acme: Credential) -> None:
    """A call's own token counts, and not the one that the credentials gave last."""
    credentials = Credentials(acme, server.url)
    with AuthorizedSession(credentials) as session:
        server.revoke_access()
        server.hold("refusal")
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(session.get, items(server))
            server.wait_for("refusal")
            acme.token(refused=acme.token())
            newer: dict[str, str] = {}
            credentials.before_request(None, "GET", items(server), newer)
            server.release("refusal")
            assert begun.result(20).status_code == 200
    assert server.counters.token_requests == 1


def test_an_expired_token_is_refreshed_before_the_call(server: AuthServer) -> None:
    acme = credential_for(server, expired=True)
    with AuthorizedSession(Credentials(acme, server.url)) as session:
        assert session.get(items(server)).status_code == 200
    assert server.counters.token_requests == 1
    assert server.counters.api == {200: 1}


def test_a_session_that_is_over_raises_login_required_as_itself(server: AuthServer, acme: Credential) -> None:
    end_session(server)
    with AuthorizedSession(Credentials(acme, server.url)) as session, pytest.raises(LoginRequired) as raised:
        session.get(items(server))
    assert raised.value.proven
    with pytest.raises(LoginRequired):
        AuthorizedHttp(Credentials(acme, server.url)).request("GET", items(server))
    assert server.counters.token_requests == 1


def test_a_session_that_is_over_raises_login_required_in_async_code(server: AuthServer, acme: Credential) -> None:
    end_session(server)

    async def main() -> None:
        async with opened(AsyncCredentials(acme, server.url)) as session:
            await session.get(items(server))

    with pytest.raises(LoginRequired):
        asyncio.run(main())


def test_an_api_that_refuses_each_token_gets_three_calls_and_causes_one_token_request(
    server: AuthServer, acme: Credential
) -> None:
    """google-auth repeats a call twice; with ``max_refresh_attempts=1`` once, as everything else here."""
    with AuthorizedSession(Credentials(acme, server.url)) as session:
        assert session.get(f"{server.api_url}/refused").status_code == 401
        assert (server.counters.token_requests, server.counters.api) == (1, {401: 3})
    with AuthorizedSession(Credentials(acme, server.url), max_refresh_attempts=1) as session:
        for _ in range(5):
            assert session.get(f"{server.api_url}/refused").status_code == 401
        assert (server.counters.token_requests, server.counters.api) == (1, {401: 13})


def revoked_twice(server: AuthServer, session: AuthorizedSession) -> list[int]:
    answers = []
    for _ in range(2):
        server.revoke_access()
        answers.append(session.get(items(server)).status_code)
    return answers


def test_google_auth_tells_of_no_success(server: AuthServer, acme: Credential) -> None:
    """As the guide says: a second revocation looks like an API that refuses each token."""
    with AuthorizedSession(Credentials(acme, server.url)) as session:
        assert revoked_twice(server, session) == [200, 401]
    assert server.counters.token_requests == 1


BODIES: list[Callable[[], Any]] = [lambda: io.BytesIO(b"body"), lambda: iter([b"bo", b"dy"])]


@pytest.mark.parametrize("body", BODIES)
def test_google_auth_sends_a_body_again_that_is_used_up(
    server: AuthServer, acme: Credential, body: Callable[[], Any]
) -> None:
    """This is what the guide warns of."""
    server.revoke_access()
    with AuthorizedSession(Credentials(acme, server.url)) as session:
        answer = session.post(items(server), data=body())
    assert (answer.status_code, answer.json()["body_length"]) == (200, 0)
    http = AuthorizedHttp(Credentials(acme, server.url))
    acme.login(server.issue())
    server.revoke_access()
    response = http.request("POST", items(server), body=body())
    http.http.clear()
    assert (response.status, json.loads(response.data)["body_length"]) == (200, 0)


def test_an_async_session_does_not_send_a_body_again_that_is_used_up(server: AuthServer, acme: Credential) -> None:
    async def main() -> int:
        async with opened(AsyncCredentials(acme, server.url)) as session:
            answer = await session.post(items(server), data=io.BytesIO(b"body"))
            await answer.read()
            return int(answer.status_code)

    server.revoke_access()
    assert asyncio.run(main()) == 401


@pytest.mark.parametrize(("body", "status"), list(zip(BODIES, [200, 401], strict=True)))
def test_an_adapter_below_sends_no_body_in_part(
    server: AuthServer, acme: Credential, body: Callable[[], Any], status: int
) -> None:
    server.revoke_access()
    with AuthorizedSession(AnonymousCredentials(), refresh_status_codes=()) as session:
        session.mount(f"{server.url}/", BearerAdapter(acme, server.url))
        answer = session.post(items(server), data=body())
    assert answer.status_code == status
    assert answer.json().get("body_length", 4) == 4


def test_an_adapter_below_learns_of_each_answer(server: AuthServer, acme: Credential) -> None:
    with AuthorizedSession(AnonymousCredentials(), refresh_status_codes=()) as session:
        session.mount(f"{server.url}/", BearerAdapter(acme, server.url))
        assert revoked_twice(server, session) == [200, 200]
        assert session.get(f"{server.api_url}/refused").status_code == 401
    assert server.counters.token_requests == 3


def test_the_token_goes_to_no_other_origin(server: AuthServer, acme: Credential) -> None:
    with AuthorizedSession(Credentials(acme, server.url)) as session:
        with pytest.raises(ConfigurationError, match=r"http://127.0.0.1:\d+, was not named: name it in origins="):
            session.get(f"{server.foreign.url}/anything?secret=1")
        session.get(f"{server.api_url}/redirect?to={server.foreign.url}/elsewhere")
    assert server.foreign.authorizations == []
    assert server.counters.foreign == 1


def test_the_token_follows_no_redirect_of_other_transports(server: AuthServer, acme: Credential) -> None:
    away = f"{server.api_url}/redirect?to={server.foreign.url}/elsewhere"
    http = AuthorizedHttp(Credentials(acme, server.url))
    http.request("GET", away)
    http.http.clear()

    async def main() -> None:
        async with opened(AsyncCredentials(acme, server.url)) as session:
            await (await session.get(away)).read()

    asyncio.run(main())
    assert server.counters.foreign == 2
    assert server.foreign.authorizations == []


def test_a_cancelled_call_leaves_the_refresh_to_the_others(server: AuthServer, acme: Credential) -> None:
    async def main() -> None:
        async with opened(AsyncCredentials(acme, server.url)) as session:

            async def call() -> int:
                answer = await session.get(items(server))
                await answer.read()
                return int(answer.status_code)

            server.revoke_access()
            server.hold("token")
            first, second = asyncio.ensure_future(call()), asyncio.ensure_future(call())
            await asyncio.to_thread(server.wait_for, "token")
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            server.release("token")
            assert await second == 200

    asyncio.run(main())
    assert server.counters.token_requests == 1


def test_a_wrong_origin_is_shown_without_what_may_be_secret(acme: Credential) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Credentials(acme, "https://api.example").before_request(None, "GET", "https://u:pass@b.example/key?q=1", {})
    assert "https://b.example, was" in str(raised.value)
    assert "pass" not in str(raised.value)
    assert "key" not in str(raised.value)


def test_an_address_without_an_origin_says_so(acme: Credential) -> None:
    for url in ("api.example/items?key=secret", "/items?key=secret", ""):
        with pytest.raises(ConfigurationError, match="without scheme and host: write both") as raised:
            Credentials(acme, "https://api.example").before_request(None, "GET", url, {})
        assert "key" not in str(raised.value)


def test_a_log_in_json_shows_no_token(server: AuthServer, acme: Credential, caplog: pytest.LogCaptureFixture) -> None:
    """google-auth gives the headers of a request to the formatter, and Google's own one writes them as JSON."""
    caplog.set_level(logging.DEBUG, "google")

    async def main() -> None:
        async with opened(AsyncCredentials(acme, server.url)) as session:
            await (await session.get(items(server), headers={"X-A": "kept"})).read()
        async with opened(Credentials(acme, server.url)) as session:
            await (await session.get(items(server))).read()

    asyncio.run(main())
    with AuthorizedSession(Credentials(acme, server.url)) as session:
        session.get(items(server))
    shown = json.dumps([vars(record) for record in caplog.records], default=str)
    assert shown.count('"authorization": "\\u2026"') == 2
    assert '"X-A": "kept"' in shown
    assert "test-access-" not in shown


def test_wrong_arguments_say_so() -> None:
    with pytest.raises(ConfigurationError, match=r"must be an onerefresh\.Credential"):
        Credentials("acme", "https://api.example")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="is not an origin"):
        AsyncCredentials(Credential("acme", lambda token: token, token=Token("a")), "api.example")


def test_async_credentials_of_a_session_that_is_not_say_so(server: AuthServer, acme: Credential) -> None:
    with AuthorizedSession(AsyncCredentials(acme, server.url)) as session:
        for timeout in (5, None):
            with pytest.raises(ConfigurationError, match="use Credentials"):
                session.get(items(server), timeout=timeout)
    with pytest.raises(ConfigurationError, match="use Credentials"):
        AuthorizedHttp(AsyncCredentials(acme, server.url)).request("GET", items(server))
    assert server.counters.api == {}


def test_what_sdks_read_of_credentials(server: AuthServer, acme: Credential) -> None:
    credentials = Credentials(acme, server.url, quota_project_id="payer")
    token = acme.token()
    assert credentials.token == token.reveal()
    assert (credentials.valid, credentials.expired, credentials.token_state) == (True, False, TokenState.FRESH)
    assert token.expires_at is not None
    assert credentials.expiry == datetime.fromtimestamp(token.expires_at, UTC).replace(tzinfo=None)
    assert credentials.quota_project_id == "payer"
    assert credentials.universe_domain == "googleapis.com"
    headers: dict[str, str] = {}
    credentials.apply(headers)
    assert headers["authorization"] == f"Bearer {token.reveal()}"
    assert headers["x-goog-user-project"] == "payer"
    credentials.apply(headers, token="other")
    assert headers["authorization"] == "Bearer other"

    async def main() -> None:
        others = AsyncCredentials(acme, server.url)
        assert others.token == token.reveal()
        await others.apply(headers)
        assert headers["authorization"] == f"Bearer {token.reveal()}"
        await others.apply(headers, token="other")
        assert headers["authorization"] == "Bearer other"

    asyncio.run(main())


def test_a_token_without_an_end_serves() -> None:
    acme = Credential("acme", lambda token: token, token=Token("a", "r", expires_at=None))
    credentials = Credentials(acme, "https://api.example")
    assert (credentials.expiry, credentials.valid, credentials.token_state) == (None, True, TokenState.FRESH)
    far = Credential("far", lambda token: token, token=Token("a", "r", expires_at=1e14 / 1000))
    assert Credentials(far, "https://api.example").valid


def test_no_token_in_memory_is_not_valid_until_refresh(server: AuthServer) -> None:
    seed = server.issue()
    acme = Credential("acme", lambda token: server.issue(), token=Token(None, str(seed["refresh_token"])))
    credentials = Credentials(acme, server.url)
    assert (credentials.token, credentials.valid, credentials.expired) == (None, False, True)
    assert (credentials.token_state, credentials.expiry) == (TokenState.INVALID, None)
    credentials.refresh(Request())
    assert credentials.valid
    assert credentials.token == acme.token().reveal()


@pytest.mark.seconds
def test_an_sdk_that_reads_the_token_and_refreshes_after_a_401_causes_one_token_request(
    server: AuthServer, acme: Credential
) -> None:
    """As google-genai does: it sends ``credentials.token`` by a client of its own."""
    credentials = Credentials(acme, server.url)

    def call(number: int) -> int:
        status = 0
        for _ in range(2):
            headers = {"Authorization": f"Bearer {credentials.token}"}
            status = httpx2.get(items(server, number), headers=headers).status_code
            if status != 401:
                break
            credentials.refresh(Request())
        return status

    assert storm(server, call) == [200] * 20
    assert server.counters.token_requests == 1


def test_a_thread_that_made_calls_of_its_own_refreshes_for_an_sdk(server: AuthServer, acme: Credential) -> None:
    """As a worker of an executor: what its own last call was given says nothing about the SDK's token."""
    credentials = Credentials(acme, server.url)
    with ThreadPoolExecutor(1) as worker, AuthorizedSession(credentials) as session:
        assert worker.submit(session.get, f"{server.api_url}/items").result(20).ok
        acme.login(server.issue())
        refused = credentials.token
        server.revoke_access()
        for _ in range(2):  # the first time, the worker takes the SDK's token for the next one
            worker.submit(credentials.refresh, None).result(20)
        assert credentials.token != refused
    assert server.counters.token_requests == 1


def test_refresh_without_a_refusal_takes_the_token_that_serves(server: AuthServer, acme: Credential) -> None:
    Credentials(acme, server.url).refresh(Request())
    assert server.counters.token_requests == 0


def test_variants_share_the_credential(server: AuthServer, acme: Credential) -> None:
    credentials = Credentials(acme, [server.url, "https://b.example"])
    other = credentials.with_quota_project("payer").with_universe_domain("example.test")
    assert (other.quota_project_id, other.universe_domain) == ("payer", "example.test")
    assert credentials.quota_project_id is None
    with AuthorizedSession(credentials) as one, AuthorizedSession(other) as two:
        answers = storm(server, lambda number: (one, two)[number % 2].get(items(server, number)).status_code)
    assert (answers, server.counters.token_requests) == ([200] * 20, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on(server: AuthServer, tmp_path: Path) -> None:
    endpoint = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
    acme = Credential("acme", endpoint, token=server.issue(), store=f"sqlite:///{tmp_path}/tokens.db")
    credentials = Credentials(acme, server.url)
    with AuthorizedSession(credentials) as session:
        assert session.get(items(server)).status_code == 200
    server.revoke_access()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with AuthorizedSession(credentials) as session:
                status = 0 if session.get(items(server)).status_code == 200 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with AuthorizedSession(credentials) as session:
        assert session.get(items(server)).status_code == 200
    acme.close()
    assert server.counters.token_requests == 1


def test_copies_and_pictures(server: AuthServer, acme: Credential) -> None:
    for credentials in (Credentials(acme, server.url), AsyncCredentials(acme, server.url)):
        assert copy.deepcopy([credentials])[0] is credentials
        with pytest.raises(TypeError, match="cannot be pickled: make it in the other process"):
            pickle.dumps(credentials)
        headers: dict[str, str] = {}
        shown = credentials.before_request(None, "GET", items(server), headers)
        if shown is not None:
            asyncio.run(shown)
        text = acme.token().reveal()
        assert headers["authorization"] == f"Bearer {text}"
        assert text not in f"{credentials!r} {vars(credentials)!r} {headers!r}"


def test_a_refresher_that_uses_its_own_credentials_is_told(server: AuthServer) -> None:
    def refresh(token: Token) -> dict[str, object]:
        with AuthorizedSession(credentials) as session:
            session.post(server.token_url)
        return {}

    acme = Credential("acme", refresh, token=Token("old", "r", expires_at=time.time() - 5))
    credentials = Credentials(acme, server.url)
    with AuthorizedSession(credentials) as session, pytest.raises(RefresherFailed, match="would wait for itself"):
        session.get(items(server))
