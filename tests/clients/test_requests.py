"""What is particular to requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from onerefresh import ConfigurationError, Credential
from onerefresh.clients.requests import BearerAdapter, BearerAuth
from onerefresh.testing import AuthServer


@pytest.fixture
def session(server: AuthServer, credential: Credential) -> requests.Session:
    session = requests.Session()
    session.auth = BearerAuth(credential, server.url)
    return session


def test_a_prepared_request_keeps_its_token_and_is_answered_with_the_present_one(
    session: requests.Session, server: AuthServer
) -> None:
    prepared = session.prepare_request(requests.Request("GET", server.api_url + "/a"))
    server.revoke_access()
    assert [session.send(prepared).json()["generation"] for _ in range(2)] == [2, 2]
    assert server.counters.token_requests == 1
    assert server.counters.api == {200: 2, 401: 2}


def test_a_prepared_request_that_many_threads_send_causes_one_refresh(
    session: requests.Session, server: AuthServer
) -> None:
    prepared = session.prepare_request(requests.Request("GET", server.api_url + "/a"))
    server.revoke_access()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: session.send(prepared).status_code, range(20)))
    assert answers == [200] * 20
    assert server.counters.token_requests == 1


def test_a_redirect_that_the_caller_follows_by_hand_leaves_the_token_behind(
    session: requests.Session, server: AuthServer
) -> None:
    away = session.get(f"{server.api_url}/redirect?to={server.foreign.url}/there", allow_redirects=False)
    assert away.next is not None
    assert session.send(away.next).status_code == 200
    server.revoke_access()
    here = session.get(f"{server.api_url}/redirect?to=/api/there", allow_redirects=False)
    assert here.next is not None
    assert session.send(here.next).json()["generation"] == 2
    assert server.foreign.authorizations == []


def test_a_request_that_was_sent_elsewhere_after_it_was_prepared_refreshes_nothing(
    session: requests.Session, server: AuthServer
) -> None:
    prepared = session.prepare_request(requests.Request("GET", server.api_url + "/a"))
    prepared.url = server.foreign.url + "/refused"
    assert session.send(prepared).status_code == 401
    assert server.counters.token_requests == 0


def test_an_address_that_is_no_text_gets_no_token(server: AuthServer, credential: Credential) -> None:
    auth = BearerAuth(credential, server.url)
    prepared = requests.Request("GET", server.api_url + "/a").prepare()
    for url in (None, (server.api_url + "/a").encode()):
        vars(prepared)["url"] = url  # somebody may put anything there
        auth(prepared)
        assert "Authorization" not in prepared.headers


def test_the_refusal_stands_in_the_history(session: requests.Session, server: AuthServer) -> None:
    server.revoke_access()
    answer = session.get(server.api_url + "/a")
    assert [first.status_code for first in answer.history] == [401]
    assert [first.json() for first in answer.history] == [{"error": "invalid_token"}]


def test_auth_of_one_call_serves_that_call(server: AuthServer, credential: Credential) -> None:
    auth = BearerAuth(credential, server.url)
    assert requests.get(server.api_url + "/a", auth=auth, timeout=30).status_code == 200
    server.revoke_access()
    assert requests.post(server.api_url + "/a", b"body", auth=auth, timeout=30).json()["body_length"] == 4


def test_the_request_that_a_caller_prepared_holds_no_token_in_the_adapter_form(
    server: AuthServer, credential: Credential
) -> None:
    with requests.Session() as session:
        session.mount(server.url + "/", BearerAdapter(credential, server.url))
        prepared = session.prepare_request(requests.Request("GET", server.api_url + "/a"))
        assert session.send(prepared).status_code == 200
        assert "Authorization" not in prepared.headers


def test_headers_that_are_printed_show_no_token(session: requests.Session, server: AuthServer) -> None:
    answer = session.get(server.api_url + "/a")
    assert "test-access-" not in repr(answer.request.headers)


def test_an_adapter_that_is_none_is_refused(credential: Credential) -> None:
    with pytest.raises(ConfigurationError, match="adapter must be an adapter"):
        BearerAdapter(credential, "https://api.acme.com", "adapter")  # type: ignore[arg-type]  # what is tested
