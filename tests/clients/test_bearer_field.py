"""Every client sends the field of the answer that `bearer_field` names, in the place of the access token."""

from __future__ import annotations

from typing import Any

import pytest
from tests.clients.conftest import OpenDriver, refresher

from onerefresh import Credential, Token
from onerefresh.testing import AuthServer, fingerprint

pytestmark = pytest.mark.slow


def with_id_token(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of a server whose API wants the id_token, and refuses the access token."""
    return {**answer, "access_token": f"not-{answer['access_token']}", "id_token": answer["access_token"]}


def test_each_client_sends_it_before_and_after_a_refresh(open_driver: OpenDriver, server: AuthServer) -> None:
    refresh = refresher(server)

    def refresh_with_id_token(token: Token) -> dict[str, Any]:
        return with_id_token(refresh(token))

    first = with_id_token(server.issue())
    credential = Credential("acme", refresh_with_id_token, token=first, bearer_field="id_token")
    driver = open_driver(credential)
    assert driver.get(server.api_url + "/a").status == 200
    assert credential.token().reveal() == first["id_token"]
    server.revoke_access()
    answers = driver.together([f"{server.api_url}/{number}" for number in range(10)])
    assert [answer.status for answer in answers] == [200] * 10
    assert server.counters.token_requests == 1
    presented = {entry.presented for entry in server.log if entry.kind == "api"}
    assert presented == {fingerprint(first["id_token"]), fingerprint(credential.token().reveal())}
