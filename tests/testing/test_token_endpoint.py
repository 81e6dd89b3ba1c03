"""The token endpoint over HTTP: strict as RFC 6749 asks, and failing as a test orders."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import httpx2
import pytest

from onerefresh.testing import AuthServer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def server() -> Iterator[AuthServer]:
    with AuthServer() as server:
        yield server


def refresh(client: httpx2.Client, server: AuthServer, token: object) -> httpx2.Response:
    form = {"grant_type": "refresh_token", "refresh_token": str(token)}
    return client.post(server.token_url, data=form, auth=(server.client_id, server.client_secret or ""))


def test_a_refresh_answers_a_new_pair_that_the_api_takes(client: httpx2.Client, server: AuthServer) -> None:
    seed = server.issue()
    answer = refresh(client, server, seed["refresh_token"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["refresh_token"] != seed["refresh_token"]
    bearer = {"Authorization": "Bearer " + answer.json()["access_token"]}
    assert client.get(server.api_url + "/items", headers=bearer).json()["generation"] == 2


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": ""}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "unknown"}, 400, "invalid_grant"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "scope": "admin"}, 400, "invalid_scope"),
        ({"grant_type": ["client_credentials", "client_credentials"]}, 400, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": "another"}, 400, "invalid_request"),
        ({"grant_type": "client_credentials", "client_secret": "secret"}, 400, "invalid_request"),
    ],
)
def test_wrong_parameters_get_the_error_of_the_standard(
    client: httpx2.Client, server: AuthServer, form: dict[str, Any], status: int, error: str
) -> None:
    answer = client.post(server.token_url, data=form, auth=("client", "secret"), headers=FORM)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"method": "GET"}, 405, "method_not_allowed"),
        ({"headers": {"Content-Type": "application/json"}}, 400, "invalid_request"),
        ({"content": b"\xff=1"}, 400, "invalid_request"),
        ({"content": b"grant_type=client_credentials&grant_type="}, 400, "invalid_request"),
        ({"params": {"client_secret": "secret"}}, 400, "invalid_request"),
        ({"auth": ("client", "wrong")}, 401, "invalid_client"),
        ({"auth": ("another", "secret")}, 401, "invalid_client"),
        ({"headers": FORM | {"Authorization": "Bearer secret"}, "auth": None}, 401, "invalid_client"),
        ({"headers": FORM | {"Authorization": "Basic ???"}, "auth": None}, 401, "invalid_client"),
        ({"auth": None}, 401, "invalid_client"),
    ],
)
def test_wrong_requests_get_the_error_of_the_standard(
    client: httpx2.Client, server: AuthServer, change: dict[str, Any], status: int, error: str
) -> None:
    good: dict[str, Any] = {
        "method": "POST",
        "url": server.token_url,
        "content": b"grant_type=client_credentials",
        "headers": FORM,
        "auth": ("client", "secret"),
    }
    assert client.request(**good).status_code == 200
    answer = client.request(**(good | change))
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("client_id", ["client", "a+b", "100%", "a:b", "Größe", "名前", "a b&c=d"])
@pytest.mark.parametrize("secret", ["secret", "p+q", "p%2Bq", "p:q", "ß€", "p q&r=s"])
def test_ids_and_secrets_of_any_characters_are_decoded_as_the_standard_says(
    client: httpx2.Client, client_id: str, secret: str
) -> None:
    with AuthServer(client_id=client_id, client_secret=secret) as server:
        encoded = base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode("ascii")).decode()
        basic = FORM | {"Authorization": "Basic " + encoded}
        body = b"grant_type=client_credentials"
        assert client.post(server.token_url, content=body, headers=basic).status_code == 200
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
        assert client.post(server.token_url, data=form).status_code == 200


@pytest.mark.parametrize("secret", ["p+q", "p%2Bq", "p:q", "ß€"])
def test_a_secret_that_is_not_encoded_is_a_wrong_secret(client: httpx2.Client, secret: str) -> None:
    with AuthServer(client_secret=secret) as server:
        raw = base64.b64encode(f"client:{secret}".encode()).decode()
        headers = FORM | {"Authorization": "Basic " + raw}
        answer = client.post(server.token_url, content=b"grant_type=client_credentials", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("accepted", "basic", "post"),
    [("any", 200, 200), ("client_secret_basic", 200, 401), ("client_secret_post", 401, 200)],
)
def test_a_server_may_accept_one_way_of_client_authentication_only(
    client: httpx2.Client, accepted: Any, basic: int, post: int
) -> None:
    with AuthServer(client_auth=accepted) as server:
        form = {"grant_type": "client_credentials"}
        assert client.post(server.token_url, data=form, auth=("client", "secret")).status_code == basic
        credentials = {"client_id": "client", "client_secret": "secret"}
        assert client.post(server.token_url, data=form | credentials).status_code == post


def test_a_public_client_names_itself_and_has_no_client_credentials(client: httpx2.Client) -> None:
    with AuthServer(client_secret=None) as server:
        form = {"grant_type": "refresh_token", "refresh_token": str(server.issue()["refresh_token"])}
        assert client.post(server.token_url, data=form).json()["error"] == "invalid_client"
        with_secret = form | {"client_id": "client", "client_secret": "x"}
        assert client.post(server.token_url, data=with_secret).json()["error"] == "invalid_client"
        assert client.post(server.token_url, data=form | {"client_id": "client"}).status_code == 200
        machine = {"grant_type": "client_credentials", "client_id": "client"}
        assert client.post(server.token_url, data=machine).json()["error"] == "unauthorized_client"


def test_a_wrong_client_spends_nothing(client: httpx2.Client, server: AuthServer) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": str(server.issue()["refresh_token"])}
    assert client.post(server.token_url, data=form, auth=("client", "wrong")).status_code == 401
    assert client.post(server.token_url, data=form, auth=("client", "secret")).status_code == 200


def test_client_credentials_give_an_access_token_alone(client: httpx2.Client, server: AuthServer) -> None:
    form = {"grant_type": "client_credentials", "scope": "read"}
    answer = client.post(server.token_url, data=form, auth=("client", "secret")).json()
    assert "refresh_token" not in answer
    assert answer["scope"] == "read"
    bearer = {"Authorization": "Bearer " + answer["access_token"]}
    assert client.get(server.api_url + "/items", headers=bearer).status_code == 200
    assert server.counters.client_credentials == 1
    assert server.sessions == []


def test_the_json_endpoint_refreshes_without_any_oauth(client: httpx2.Client, server: AuthServer) -> None:
    seed = server.issue()
    answer = client.post(server.json_refresh_url, json={"refresh_token": seed["refresh_token"]})
    assert answer.status_code == 200
    assert {"access_token", "refresh_token", "expires_in"} <= answer.json().keys()
    server.expect_reuse()
    again = client.post(server.json_refresh_url, json={"refresh_token": seed["refresh_token"]})
    assert (again.status_code, again.json()["code"]) == (401, "token_not_valid")
    assert server.session == "revoked"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"nonsense", b'{"refresh_token": 7}', b"\xff"])
def test_the_json_endpoint_says_what_it_wants(client: httpx2.Client, server: AuthServer, body: bytes) -> None:
    answer = client.post(server.json_refresh_url, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_revoked_refresh_token_ends_the_session(client: httpx2.Client, server: AuthServer) -> None:
    seed = server.issue()
    form = {"token": str(seed["refresh_token"]), "token_type_hint": "refresh_token"}
    assert client.post(server.revoke_url, data=form).status_code == 401
    assert client.post(server.revoke_url, data=form, auth=("client", "secret")).status_code == 200
    assert refresh(client, server, seed["refresh_token"]).json()["error"] == "invalid_grant"
    assert server.session == "revoked"
    assert (server.counters.revocations, server.counters.reuse_detected) == (1, 0)


def test_revoking_an_unknown_token_is_no_error(client: httpx2.Client, server: AuthServer) -> None:
    assert client.post(server.revoke_url, data={"token": "x"}, auth=("client", "secret")).status_code == 200
    missing = client.post(server.revoke_url, data={"tokens": "x"}, auth=("client", "secret"))
    assert missing.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("order", "answer"),
    [
        ({}, (500, "application/json", '{"error": "temporarily_unavailable"}')),
        ({"status": 429, "headers": {"Retry-After": "2"}, "body": ""}, (429, None, "")),
        ({"status": 502, "body": "<html>Bad gateway</html>"}, (502, "text/html", "<html>Bad gateway</html>")),
        ({"status": 400, "body": ""}, (400, None, "")),
        ({"status": 200, "body": {"error": "invalid_grant"}}, (200, "application/json", '{"error": "invalid_grant"}')),
        ({"status": 200, "body": "null", "headers": {"content-type": "text/json"}}, (200, "text/json", "null")),
    ],
)
def test_an_ordered_failure_is_answered_once_and_spends_nothing(
    client: httpx2.Client,
    server: AuthServer,
    order: dict[str, Any],
    answer: tuple[int, str | None, str],
) -> None:
    seed = server.issue()
    server.fail_next(**order)
    failed = refresh(client, server, seed["refresh_token"])
    assert (failed.status_code, failed.headers.get("content-type"), failed.text) == answer
    assert failed.headers.get("retry-after") == order.get("headers", {}).get("Retry-After")
    assert refresh(client, server, seed["refresh_token"]).status_code == 200
    assert (server.counters.token_requests, server.counters.refreshes) == (2, 1)
    assert [entry.outcome for entry in server.log] == ["failed", "issued"]


def test_failures_last_until_recovery_where_no_number_is_given(client: httpx2.Client, server: AuthServer) -> None:
    seed = server.issue()
    server.fail_next(None, status=503)
    assert [refresh(client, server, seed["refresh_token"]).status_code for _ in range(5)] == [503] * 5
    server.recover()
    assert refresh(client, server, seed["refresh_token"]).status_code == 200


def test_failures_come_in_the_order_in_which_they_were_ordered(client: httpx2.Client, server: AuthServer) -> None:
    seed = server.issue()
    server.fail_next(2, status=500)
    server.fail_next(status=429)
    assert [refresh(client, server, seed["refresh_token"]).status_code for _ in range(4)] == [500, 500, 429, 200]


def test_a_failure_for_a_time_ends_by_itself(client: httpx2.Client, server: AuthServer) -> None:
    seed = server.issue()
    server.fail_for(3600)
    assert refresh(client, server, seed["refresh_token"]).status_code == 500
    server.recover()
    server.fail_for(0)
    assert refresh(client, server, seed["refresh_token"]).status_code == 200


@pytest.mark.parametrize("status", [0, 100, 199, 600])
def test_a_status_that_is_no_answer_is_refused(server: AuthServer, status: int) -> None:
    with pytest.raises(ValueError, match="use 200 to 599"):
        server.fail_next(status=status)


def test_a_lost_answer_has_spent_the_refresh_token(client: httpx2.Client, server: AuthServer) -> None:
    server.expect_reuse()
    seed = server.issue()
    server.lose_next_answer()
    with pytest.raises(httpx2.RemoteProtocolError):
        refresh(client, server, seed["refresh_token"])
    assert server.counters.refreshes == 1
    assert refresh(client, server, seed["refresh_token"]).json()["error"] == "invalid_grant"
    assert [(entry.outcome, entry.status) for entry in server.log] == [("lost", None), ("reuse", 400)]
    assert server.session == "revoked"


def test_after_a_lost_answer_the_grace_window_gives_the_pair_again(client: httpx2.Client) -> None:
    with AuthServer(mode="grace", grace=3600) as server:
        seed = server.issue()
        server.lose_next_answer()
        with pytest.raises(httpx2.RemoteProtocolError):
            refresh(client, server, seed["refresh_token"])
        answer = refresh(client, server, seed["refresh_token"])
        assert answer.status_code == 200
        assert [(entry.outcome, entry.generation) for entry in server.log] == [("lost", 2), ("reissued", 2)]
        assert server.log[0].issued == server.log[1].issued


def test_a_lost_request_has_spent_nothing(client: httpx2.Client, server: AuthServer) -> None:
    seed = server.issue()
    server.lose_next_request()
    with pytest.raises(httpx2.RemoteProtocolError):
        refresh(client, server, seed["refresh_token"])
    assert refresh(client, server, seed["refresh_token"]).status_code == 200
    assert [entry.outcome for entry in server.log] == ["failed", "issued"]


def test_a_failure_after_rotating_is_kept_for_a_request_that_rotates(client: httpx2.Client, server: AuthServer) -> None:
    server.expect_reuse()
    seed = server.issue()
    server.fail_next(status=504, after_rotating=True)
    assert refresh(client, server, "unknown").status_code == 400
    assert refresh(client, server, seed["refresh_token"]).status_code == 504
    assert refresh(client, server, seed["refresh_token"]).json()["error"] == "invalid_grant"
    assert server.counters.refreshes == 1
