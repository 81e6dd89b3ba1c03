"""Bodies: one that can be sent again is sent whole, one that cannot is never sent empty."""

from __future__ import annotations

import hashlib

import pytest
from tests.clients.bodies import BODY, RAW, REPLAYED
from tests.clients.drivers import FORMS, Options

from onerefresh import Credential
from onerefresh.testing import AuthServer

KINDS = [(name, kind) for name, form in FORMS.items() for kind in form.bodies]
AGAIN = [(name, kind) for name, kind in KINDS if kind in REPLAYED]
ONCE = [(name, kind) for name, kind in KINDS if kind not in REPLAYED]


def accepted_posts(server: AuthServer) -> list[int | None]:
    return [entry.generation for entry in server.log if entry.method == "POST" and entry.outcome == "accepted"]


@pytest.mark.parametrize(("name", "kind"), AGAIN)
def test_a_body_that_can_go_again_arrives_whole_with_the_next_token(
    name: str, kind: str, server: AuthServer, credential: Credential
) -> None:
    with FORMS[name](credential, server.url, Options(pool=1)) as driver:
        at_first = driver.post(server.api_url + "/a", kind).json()
        server.revoke_access()
        again = driver.post(server.api_url + "/a", kind)
    assert again.status == 200
    assert at_first["body_length"] == again.json()["body_length"] > 0
    assert (at_first["generation"], again.json()["generation"]) == (1, 2)
    if kind in RAW:
        assert again.json()["body_sha256"] == hashlib.sha256(BODY).hexdigest()
    assert server.counters.token_requests == 1


@pytest.mark.parametrize(("name", "kind"), ONCE)
def test_a_body_that_is_used_up_is_not_sent_again_and_the_next_call_has_the_next_token(
    name: str, kind: str, server: AuthServer, credential: Credential
) -> None:
    with FORMS[name](credential, server.url, Options(pool=1)) as driver:
        assert driver.post(server.api_url + "/a", kind).json()["body_length"] >= len(BODY)
        server.revoke_access()
        answer = driver.post(server.api_url + "/a", kind)
        assert (answer.status, answer.json()) == (401, {"error": "invalid_token"})
        assert accepted_posts(server) == [1], "nothing was sent in its place"
        assert driver.post(server.api_url + "/a", kind).json()["generation"] == 2
    assert server.counters.token_requests == 1
    assert server.counters.api == {200: 2, 401: 1}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kind in ONCE if kind != "multipart"])
def test_a_body_that_is_used_up_needs_no_refresh_where_the_token_is_good(
    name: str, kind: str, server: AuthServer, credential: Credential
) -> None:
    with FORMS[name](credential, server.url, Options()) as driver:
        assert driver.post(server.api_url + "/a", kind).status == 200
    assert server.counters.token_requests == 0


@pytest.mark.parametrize("name", FORMS)
def test_50_posts_at_once_arrive_whole(name: str, server: AuthServer, credential: Credential) -> None:
    server.revoke_access()
    with FORMS[name](credential, server.url, Options(pool=10)) as driver:
        begun = [driver.soon("POST", f"{server.api_url}/{number}", **driver.bodies["bytes"]()) for number in range(50)]
        answers = [one.result(60).json() for one in begun]
    assert {answer["body_sha256"] for answer in answers} == {hashlib.sha256(BODY).hexdigest()}
    assert server.counters.token_requests == 1
