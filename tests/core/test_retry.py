"""`retry()`: asking again at once, whatever the token endpoint said before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import of_another_process
from tests.core.driver import NEXT, World, failed, make_lease, make_request, needy, refusing, seed
from tests.effects import EFFECTS

from onerefresh import Credential, Credentials, LoginRequired, Token, errors
from onerefresh import transitions as records
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record import State
from onerefresh.renewal.commands import allow_again
from onerefresh.renewal.renew import renew
from onerefresh.stores.memory import MemoryStore
from onerefresh.testing import AuthServer
from onerefresh.verdict import FailureKind

DOUBT = failed(FailureKind.DOUBTFUL, "the token endpoint answered 401")

# --- The record ---


@pytest.mark.parametrize(
    "failure",
    [
        DOUBT,
        failed(FailureKind.DEAD),
        failed(FailureKind.CLIENT_REJECTED),
        failed(FailureKind.UNAVAILABLE, retry_after=900),
    ],
)
def test_whatever_was_said_the_next_one_asks_at_once(failure: Any) -> None:
    world = needy(None, failure, NEXT)
    refused = refusing(world)
    world.fails(renew(EFFECTS, make_request(**refused)))
    assert world.run(allow_again(EFFECTS, make_request())) is not None
    assert (world.present.state, len(world.sent)) == (State.IDLE, 1)
    assert world.run(renew(EFFECTS, make_request(**refused))).token.generation == 2


def test_a_session_that_is_dead_indeed_is_dead_again() -> None:
    world = needy(None, failed(FailureKind.DEAD), failed(FailureKind.DEAD))
    refused = refusing(world)
    for sends in (1, 2):
        error = world.fails(renew(EFFECTS, make_request(**refused)))
        assert isinstance(error, errors.LoginRequired)
        assert error.proven
        assert (world.present.state, len(world.sent)) == (State.DEAD, sends)
        world.run(allow_again(EFFECTS, make_request()))


def test_what_may_have_spent_the_refresh_token_is_not_forgotten() -> None:
    world = needy(None, failed(FailureKind.PROTOCOL), DOUBT, DOUBT)
    refused = refusing(world)
    world.fails(renew(EFFECTS, make_request(**refused)))
    world.now += 60.0
    for sends in (2, 3):
        error = world.fails(renew(EFFECTS, make_request(**refused)))
        assert "may have spent the refresh token" in str(error)
        assert len(world.sent) == sends
        world.run(allow_again(EFFECTS, make_request()))


def test_where_nothing_failed_nothing_is_written() -> None:
    world = needy(None)
    body = world.body
    assert world.run(allow_again(EFFECTS, make_request())) is None
    assert world.body == body
    assert World().run(allow_again(EFFECTS, make_request())) is None


def test_who_is_asking_just_now_is_left_alone() -> None:
    world = needy(None, DOUBT)
    world.fails(renew(EFFECTS, make_request(**refusing(world))))
    world.now += 30.0
    world.lease(make_lease())
    body = world.body
    assert world.run(allow_again(EFFECTS, make_request())) is not None
    assert world.body == body


def test_a_logout_stays_one() -> None:
    world = needy(seed())
    world.put(records.logged_out(world.record, now=world.wall))
    assert world.run(allow_again(EFFECTS, make_request())) is None
    assert world.present.is_logged_out


# --- The public face ---


def expired(server: AuthServer) -> Token:
    answer = server.issue()
    access, refresh = str(answer["access_token"]), str(answer["refresh_token"])
    return Token(access, refresh, expires_in=60.0, issued_at=time.time() - 3600.0)


def endpoint(server: AuthServer) -> TokenEndpoint:
    return TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)


@pytest.mark.parametrize("fault", [{"status": 401, "body": ""}, {"status": 400, "body": {"error": "invalid_grant"}}])
def test_the_refresh_token_still_works_and_retry_uses_it(fault: Mapping[str, Any], tmp_path: Path) -> None:
    with AuthServer() as server:
        server.fail_next(**fault)
        store = f"sqlite:///{tmp_path / 'tokens.db'}"
        with Credential("acme", endpoint(server), token=expired(server), store=store) as credential:
            with pytest.raises(LoginRequired):
                credential.token()
            assert credential.retry().generation == 2
            assert credential.token().generation == 2
            assert credential.status().failure is None


def test_a_retry_that_is_refused_again_says_so() -> None:
    with AuthServer() as server:
        server.fail_next(2, status=401, body="")
        with Credential("acme", endpoint(server), token=expired(server)) as credential:
            for call in (credential.token, credential.retry):
                with pytest.raises(LoginRequired) as caught:
                    call()
                assert not caught.value.proven
            assert server.counters.token_requests == 2
            assert credential.retry().generation == 2


def test_where_nothing_failed_nothing_is_sent() -> None:
    with AuthServer() as server, Credential("acme", endpoint(server), token=server.issue()) as credential:
        assert credential.retry() == credential.token()
        assert server.counters.token_requests == 0


def test_a_token_that_serves_is_renewed_by_a_retry_and_goes_on_serving_where_that_fails() -> None:
    with AuthServer() as server:
        first = server.issue()
        access, refresh = str(first["access_token"]), str(first["refresh_token"])
        background = Token(access, refresh, expires_in=3600.0, issued_at=time.time() - 3500.0)
        server.fail_next(3, status=401, body="")
        with Credential("acme", endpoint(server), token=background) as credential:
            credential.token()
            while credential.status().failure is None or credential._memory.flight is not None:
                pass  # its renewal in the background: what is retried before its end, it would send itself
            for _ in range(2):
                with pytest.raises(LoginRequired):
                    credential.retry()
                assert credential.token().generation == 1
            assert credential.retry().generation == 2


def test_it_has_an_async_face() -> None:
    async def main(server: AuthServer) -> int:
        async with Credential("acme", endpoint(server), token=expired(server)) as credential:
            with pytest.raises(LoginRequired):
                await credential.atoken()
            return (await credential.aretry()).generation

    with AuthServer() as server:
        server.fail_next(status=401, body="")
        assert asyncio.run(main(server)) == 2


def test_one_of_many_credentials_retries_as_well(tmp_path: Path) -> None:
    with AuthServer() as server, Credentials(endpoint(server), store=f"sqlite:///{tmp_path / 'tokens.db'}") as many:
        many["acme"].login(expired(server))
        server.fail_next(status=401, body="")
        with pytest.raises(LoginRequired):
            many["acme"].token()
        assert many["acme"].retry().generation == 2


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("failure", [{"status": 401, "body": ""}, {"status": 403}, {"status": 429}])
def test_what_another_process_has_healed_is_not_raised_once_more(failure: Mapping[str, Any], *, is_async: bool) -> None:
    """What this process raised last is remembered for a second."""
    with AuthServer() as server:
        server.fail_next(**failure, headers={"retry-after": "600"})
        store = MemoryStore()
        first = expired(server)
        mine = Credential("acme", endpoint(server), token=first, store=store)
        other = Credential("acme", endpoint(server), token=first, store=of_another_process(store))
        with pytest.raises(errors.OnerefreshError):
            mine.token()
        assert other.retry().generation == 2
        mine._memory.failed = (mine._memory.failed or (errors.LoginRequired(), 0.0))[0], float("inf")
        token = asyncio.run(mine.aretry()) if is_async else mine.retry()
        assert (token.generation, server.counters.token_requests) == (2, 2)
