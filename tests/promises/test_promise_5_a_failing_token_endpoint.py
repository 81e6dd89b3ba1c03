"""A failing token endpoint is asked rarely, by all callers and processes together; a token that still works stays in
use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.promises.helpers import at_once, began, generations

from onerefresh import Credential, Credentials, RefreshUnavailable, Token
from onerefresh.clients.httpx import BearerAuth
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

if TYPE_CHECKING:
    from tests.promises.helpers import Program

LATER = {"Retry-After": "120"}


@pytest.mark.parametrize("status", [429, 503])
def test_all_callers_of_one_process_ask_once(auth_server: AuthServer, login: TokenEndpoint, status: int) -> None:
    auth_server.fail_next(None, status=status, headers=LATER)
    with Credential("acme", login, token=auth_server.issue()) as acme:
        first = acme.token()
        for _ in range(3):
            told = at_once([lambda: acme.token(refused=first)] * 20)
            assert generations(told) == {"RefreshUnavailable"}
            assert all(isinstance(one, RefreshUnavailable) and 0 < (one.retry_after or 0) <= 120 for one in told)
    assert auth_server.counters.token_requests == 1


def test_a_short_outage_fails_no_call_and_is_asked_again_once(auth_server: AuthServer, login: TokenEndpoint) -> None:
    auth_server.fail_next(1, status=503)
    with Credential("acme", login, token=auth_server.issue()) as acme:
        first = acme.token()
        assert generations(at_once([lambda: acme.token(refused=first)] * 20)) == {2}
    assert auth_server.counters.token_requests == 2


@pytest.mark.slow
def test_processes_ask_once_together(
    auth_server: AuthServer, login: TokenEndpoint, url: str, start: Callable[[str], Program]
) -> None:
    programs = [start("calls") for _ in range(2)]
    with Credential("acme", login, store=url) as acme:
        acme.login(auth_server.issue())
    auth_server.revoke_access()
    auth_server.fail_next(None, status=503, headers=LATER)
    assert [program.told() for program in began(programs)] == [["RefreshUnavailable"] * 10] * 2
    assert auth_server.counters.token_requests == 1


def background(answer: dict[str, object]) -> Token:
    """The token of this answer as if most of its life were over."""
    now = time.time()
    texts = (str(answer["access_token"]), str(answer["refresh_token"]))
    return Token(*texts, issued_at=now - 3_000.0, expires_at=now + 100.0)


def test_a_token_that_still_works_goes_on_being_used(auth_server: AuthServer, login: TokenEndpoint) -> None:
    auth_server.fail_next(None, status=503, headers=LATER)
    with Credential("acme", login, token=background(auth_server.issue())) as acme:
        with httpx2.Client(auth=BearerAuth(acme, auth_server.url)) as client:
            for _ in range(3):
                told = at_once([lambda: client.get(f"{auth_server.url}/api/items").status_code] * 20)
                assert told == [200] * 20
                auth_server.wait_for("token")  # it is renewed in good time, behind the calls
    assert auth_server.counters.token_requests == 1


@pytest.mark.slow
def test_other_processes_go_on_using_it_too(
    auth_server: AuthServer, login: TokenEndpoint, url: str, start: Callable[[str], Program]
) -> None:
    program = start("calls")
    auth_server.fail_next(None, status=503, headers=LATER)
    with Credentials(login, store=url) as customers:
        customers["acme"].login(background(auth_server.issue()))
        customers.refresh_due(within=200.0, keys=["acme"])
        assert customers["acme"].token().generation == 1
    began([program])
    assert program.told() == [200] * 10
    program.end()
    assert auth_server.counters.token_requests == 1
