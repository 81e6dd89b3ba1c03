"""A logout tells the server, over a real revocation endpoint (RFC 7009)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.calls import listening

from onerefresh import ConfigurationError, Credential, LoginRequired
from onerefresh.events import Event, Kind
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import AuthServer


@pytest.fixture
def server() -> Any:
    with AuthServer() as server:
        yield server


def endpoint(server: AuthServer, **settings: Any) -> TokenEndpoint:
    given = {"client_id": server.client_id, "client_secret": server.client_secret, "revocation_url": server.revoke_url}
    return TokenEndpoint(server.token_url, **(given | settings))


def logged_out(credential: Credential, revocation: str = "revoked") -> list[Event]:
    with listening() as events:
        done = credential.logout()
    assert done.revocation == revocation
    assert bool(done.detail) == (revocation == "not_confirmed")
    with pytest.raises(LoginRequired):
        credential.token()
    return events


def test_a_logout_ends_the_session_at_the_server(server: AuthServer) -> None:
    events = logged_out(Credential("acme", endpoint(server), token=server.issue()))
    assert [event.kind for event in events] == [Kind.LOGGED_OUT, Kind.REVOKED]
    assert (server.counters.revocations, server.sessions) == (1, ["revoked"])


def test_without_a_revocation_url_the_server_is_not_asked(server: AuthServer) -> None:
    events = logged_out(Credential("acme", endpoint(server, revocation_url=None), token=server.issue()), "no_endpoint")
    assert [event.kind for event in events] == [Kind.LOGGED_OUT]
    assert (server.counters.revocations, server.sessions) == (0, ["alive"])


def test_a_refresh_that_a_logout_overtakes_leaves_no_session_behind(server: AuthServer) -> None:
    server.hold("token_sent")
    with listening() as events:
        credential = Credential(
            "acme", endpoint(server), token={**server.issue(), "expires_in": None, "expires_at": 1.0}
        )
        with pytest.raises(TimeoutError):
            credential.token(max_wait=0.0)
        server.wait_for("token_sent")
        credential.logout()
        server.release("token_sent")
        credential.close()
    told = [event.kind for event in events]
    assert (told[-2:], server.counters.revocations) == ([Kind.ORPHANED, Kind.REVOKED], 2)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"revocation_url": "http://127.0.0.1:9/revoke"}, "the revocation endpoint could not be reached"),
        ({"client_secret": "wrong"}, "the revocation endpoint answered 401 'invalid_client'"),
    ],
)
def test_a_server_that_does_not_confirm_does_not_hinder_the_logout(
    server: AuthServer, settings: dict[str, Any], says: str
) -> None:
    first = server.issue()
    events = logged_out(Credential("acme", endpoint(server, **settings), token=first), "not_confirmed")
    assert [event.kind for event in events] == [Kind.LOGGED_OUT, Kind.NOT_REVOKED]
    assert says in events[-1].detail
    assert not [event for event in events if str(first["refresh_token"]) in str(event)]


def test_a_revocation_url_that_is_not_safe_is_refused(server: AuthServer) -> None:
    with pytest.raises(ConfigurationError, match=r"the revocation endpoint http://acme\.com/ is not https"):
        endpoint(server, revocation_url="http://acme.com/")


def test_a_refresher_of_ones_own_may_revoke_in_its_own_way() -> None:
    revoked: list[str] = []

    class Refresher:
        def __call__(self, token: Any) -> dict[str, object]:
            raise AssertionError("nothing is refreshed here")

        async def revoke(self, token: Any) -> None:
            revoked.append(token.reveal_refresh_token())

    logged_out(Credential("acme", Refresher(), token={"access_token": "a", "refresh_token": "r", "expires_in": 3600}))
    assert revoked == ["r"]
