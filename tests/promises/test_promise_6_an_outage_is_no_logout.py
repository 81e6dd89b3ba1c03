"""An outage is not a logout. Only a proven `invalid_grant` is, and it is remembered until somebody logs in. A refusal
that may mean a wrong client is retried automatically, rarely."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.promises.helpers import Kept, at_once, began, endpoint, generations

from onerefresh import Credential, LoginRequired
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer

if TYPE_CHECKING:
    from tests.promises.helpers import Program

OUTAGES: dict[str, Callable[[AuthServer], None]] = {
    "503": lambda server: server.fail_next(None, status=503, headers={"Retry-After": "120"}),
    "429": lambda server: server.fail_next(None, status=429, headers={"Retry-After": "120"}),
    "500 once": lambda server: server.fail_next(1, status=500),
    "a gateway's page once": lambda server: server.fail_next(1, status=502, body="<html>Bad gateway</html>"),
    "a page in place of a token": lambda server: server.fail_next(None, status=200, body="<html>Welcome</html>"),
    "a request that is lost": lambda server: server.lose_next_request(),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_ends_no_session(auth_server: AuthServer, login: TokenEndpoint, outage: str) -> None:
    OUTAGES[outage](auth_server)
    with Credential("acme", login, token=auth_server.issue(), max_wait=5.0) as acme:
        first = acme.token()
        told = at_once([lambda: acme.token(refused=first)] * 10)
        assert "LoginRequired" not in generations(told)
        assert acme.status().state != "dead"
    assert auth_server.session == "alive"


def test_nor_does_a_store_that_is_down(auth_server: AuthServer, login: TokenEndpoint) -> None:
    store = Kept()
    with Credential("acme", login, token=auth_server.issue(), store=store) as acme:
        first = acme.token()
        store.is_down = True
        assert generations(at_once([lambda: acme.token(refused=first)] * 10)) == {"StoreUnavailable"}
        store.is_down = False
        assert acme.token(refused=first).generation == 2


def test_nor_does_a_server_that_cannot_be_reached() -> None:
    with AuthServer() as gone:
        seed, login = gone.issue(), endpoint(gone)
    acme = Credential("acme", login, token=seed)  # not closed: that would wait for the refresh, which goes on
    first = acme.token()
    told = at_once([lambda: acme.token(refused=first, max_wait=0.2)] * 10)
    assert generations(told) <= {"WaitTimeout", "RefreshUnavailable"}
    assert acme.status().state != "dead"


@pytest.mark.slow
def test_an_invalid_grant_is_remembered_by_everybody_until_somebody_logs_in(
    auth_server: AuthServer, login: TokenEndpoint, url: str, start: Callable[[str], Program]
) -> None:
    late = start("calls"), start("calls")
    with Credential("acme", login, store=url) as acme, Credential("acme", login, store=url) as other:
        first = acme.login(auth_server.issue())
        auth_server.revoke_family()
        for _ in range(2):
            assert generations(at_once([lambda: acme.token(refused=first)] * 20)) == {"LoginRequired"}
        with pytest.raises(LoginRequired, match="log in again"):
            other.token(refused=first)
        assert began(late[:1])[0].told() == ["LoginRequired"] * 10
        assert (auth_server.counters.token_requests, acme.status().state) == (1, "dead")

        again = acme.login(auth_server.issue())
        assert began(late[1:])[0].told() == [200] * 10
        assert acme.token().reveal() == again.reveal()
    assert auth_server.counters.token_requests == 1
