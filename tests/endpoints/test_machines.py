"""JsonEndpoint for machines: a token for an ID and a secret, where nobody logs in."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.endpoints.test_json_endpoint import URL, Api

from onerefresh import ClientRejected, ConfigurationError, Credential, Secret, Token
from onerefresh.endpoints import JsonEndpoint
from onerefresh.verdict import FailureKind, RefreshFailure

BODY = {"app_id": "cli_1", "app_secret": Secret("s3cret-0123456789")}


def machine(api: Api, **settings: Any) -> JsonEndpoint:
    return JsonEndpoint(URL, **{"grant": "client_credentials", "body": BODY, "send": api, **settings})


def test_the_first_token_and_the_next_ones_need_no_login() -> None:
    api = Api(body={"code": 0, "tenant_access_token": "t-1", "expire": 7200})
    endpoint = machine(api, fields={"access_token": "tenant_access_token"})
    with Credential("machine", endpoint) as credential:
        first = credential.token()
        assert (first.reveal(), first.refresh_token) == ("t-1", None)
    with Credential("machine", endpoint, token=Token("old", expires_at=time.time() - 1)) as credential:
        assert credential.token().reveal() == "t-1"
    assert len(api.requests) == 2
    wanted = {"app_id": "cli_1", "app_secret": "s3cret-0123456789"}
    assert [json.loads(request.body) for request in api.requests] == [wanted, wanted]


def test_a_get_with_a_query() -> None:
    query = {"grant_type": "client_credential", "appid": "wx1", "secret": lambda: "s3cret-0123456789"}
    api = Api()
    with Credential("machine", machine(api, method="GET", body=None, query=query)) as credential:
        assert credential.token().reveal() == "new"
    assert api.request.target == "/auth/refresh?grant_type=client_credential&appid=wx1&secret=s3cret-0123456789"


def test_a_refresh_token_beside_is_not_used() -> None:
    api = Api(body={"access_token": "new", "refresh_token": "r-0123456789"})
    endpoint = machine(api)
    assert endpoint(Token("old", "r-0123456789")).reveal() == "new"
    assert b"r-0123456789" not in api.request.body


@pytest.mark.parametrize(
    ("status", "settings"), [(401, {}), (400, {"dead": {"code": 10003}}), (200, {"dead": {"code": 10003}})]
)
def test_there_is_no_session_that_could_be_over(status: int, settings: dict[str, Any]) -> None:
    api = Api(status, {"code": 10003, "msg": "invalid param"})
    with Credential("machine", machine(api, **settings)) as credential:
        with pytest.raises(ClientRejected, match="check the request that this JsonEndpoint describes") as raised:
            credential.token()
        assert "dead=" not in str(raised.value)
        assert "s3cret" not in str(raised.value)


def test_a_lost_answer_costs_nothing() -> None:
    api = Api(200, b"<html>", content_type="text/html")
    with pytest.raises(RefreshFailure) as raised:
        machine(api)(Token("old"))
    assert raised.value.verdict.kind is FailureKind.UNAVAILABLE


def test_who_asks_is_part_of_its_identity() -> None:
    assert machine(Api()).identity == f"endpoint {URL}, client_credentials, app_id cli_1"
    assert not machine(Api()).renews_from_access
    assert JsonEndpoint(URL).obtain is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"grant": "password"}, "unknown grant 'password': use one of refresh_token, client_credentials"),
        ({"body": {"t": "{refresh_token}"}}, "with grant 'client_credentials' there is no token to send"),
        ({"headers": {"X": "{access_token}"}}, "with grant 'client_credentials' there is no token to send"),
        ({"keep": {"csrf": "csrf"}, "headers": {"X": "{csrf}"}}, "with grant 'client_credentials' there is no token"),
        ({"grant": "refresh_token"}, "or say grant='client_credentials' where the API gives a token for a secret"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        machine(Api(), **settings)
    assert said in str(raised.value)
