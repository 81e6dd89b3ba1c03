"""Many callers, a real server, one refresh: tokens revoked early, outages, lost answers, callers that leave."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import PATIENCE, acall, call, in_threads, outcomes, refresher_of
from tests.core.children import Child

from onerefresh import Credential, LoginRequired, Profile, RefreshUnavailable, Token
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow

CALLS = 100


def credential_of(server: AuthServer, **others: Any) -> Credential:
    return Credential("acme", refresher_of(server), **{"token": server.issue(), "profile": "strict", **others})


def by_threads(credential: Credential, url: str) -> list[int]:
    return in_threads([lambda: call(credential, url)] * CALLS)


def by_tasks(credential: Credential, url: str) -> list[int]:
    return asyncio.run(tasks(credential, url, CALLS))


async def tasks(credential: Credential, url: str, count: int) -> list[int]:
    """So many calls at once, each on the wire by a thread of its own."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(count))
    return list(await asyncio.gather(*[acall(credential, url) for _ in range(count)]))


def by_two_loops_and_ten_threads(credential: Credential, url: str) -> list[int]:
    def several(count: int) -> list[int]:
        return [call(credential, url) for _ in range(count)]

    loops: list[Callable[[], list[int]]] = [lambda: asyncio.run(tasks(credential, url, 25))] * 2
    threads: list[Callable[[], list[int]]] = [lambda: several(5)] * 10
    return [status for statuses in in_threads([*loops, *threads]) for status in statuses]


WAYS = [by_threads, by_tasks, by_two_loops_and_ten_threads]
SERVERS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "the same access token text": {"same_access_text": True},
    "an unknown expiry": {"tell_expiry": False},
    "the old access token dies": {"old_access_dies": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS.keys())
@pytest.mark.parametrize("late", [False, True], ids=["", "late refusals"])
def test_a_token_that_is_revoked_early_costs_one_refresh(
    new_auth_server: Callable[..., AuthServer],
    way: Callable[[Credential, str], list[int]],
    options: dict[str, Any],
    late: bool,
) -> None:
    server = new_auth_server(**options)
    credential = credential_of(server)
    server.revoke_access()
    if late:
        server.late_refusals()
    assert way(credential, f"{server.api_url}/thing") == [200] * CALLS
    assert (server.counters.token_requests, server.counters.refreshes) == (1, 1)
    assert server.session == "alive"


@pytest.mark.parametrize("way", WAYS)
def test_a_token_that_is_known_to_have_expired_costs_one_refresh_and_no_refused_call(
    auth_server: AuthServer, way: Callable[[Credential, str], list[int]]
) -> None:
    answer = {name: value for name, value in auth_server.issue().items() if name != "expires_in"}
    credential = credential_of(auth_server, token={**answer, "expires_at": 1_000_000_000})
    assert way(credential, f"{auth_server.api_url}/thing") == [200] * CALLS
    assert auth_server.counters.token_requests == 1
    assert set(auth_server.counters.api) == {200}


def test_tokens_that_live_for_two_seconds_are_not_refreshed_by_each_call(
    new_auth_server: Callable[..., AuthServer],
) -> None:
    server = new_auth_server(expires_in=2.0)
    credential = credential_of(server)
    assert [call(credential, f"{server.api_url}/thing") for _ in range(60)] == [200] * 60
    assert server.counters.token_requests <= 3


def test_an_api_that_refuses_everything_causes_one_refresh(auth_server: AuthServer) -> None:
    credential = credential_of(auth_server)
    assert [call(credential, f"{auth_server.api_url}/refused") for _ in range(10)] == [401] * 10
    assert auth_server.counters.token_requests == 1


# --- The token endpoint fails ---


@pytest.mark.long
@pytest.mark.parametrize("way", [by_threads, by_tasks])
def test_a_token_endpoint_that_fails_for_three_seconds_fails_no_call(
    auth_server: AuthServer, way: Callable[[Credential, str], list[int]]
) -> None:
    credential = credential_of(auth_server)
    auth_server.revoke_access()
    auth_server.fail_for(3.0, status=500)
    assert way(credential, f"{auth_server.api_url}/thing") == [200] * CALLS
    assert auth_server.counters.token_requests <= 4
    assert auth_server.counters.refreshes == 1


def test_a_token_endpoint_that_asks_to_wait_is_left_alone(auth_server: AuthServer) -> None:
    credential = credential_of(auth_server)
    refused = credential.token()
    auth_server.fail_next(count=None, status=429, headers={"Retry-After": "30"})
    found = outcomes([lambda: credential.token(refused=refused)] * 20)
    assert {type(error) for error in found} == {RefreshUnavailable}
    for _ in range(5):
        with pytest.raises(RefreshUnavailable) as caught:
            credential.token(refused=refused)
        assert caught.value.retry_after is not None
        assert 20.0 < caught.value.retry_after <= 30.0
    assert auth_server.counters.token_requests == 1


def test_a_session_that_is_over_costs_one_request_and_every_caller_is_told(
    auth_server: AuthServer, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/tokens.db"
    credential = credential_of(auth_server, store=store)
    refused = credential.token()
    auth_server.revoke_family()
    found = outcomes([lambda: credential.token(refused=refused)] * CALLS)
    assert {type(error) for error in found} == {LoginRequired}
    for _ in range(10):
        with pytest.raises(LoginRequired, match="token_not_valid"):
            credential.token()
    with Child("ask", store=store, url=auth_server.json_refresh_url) as elsewhere:
        assert elsewhere.line().startswith("LoginRequired")
    assert auth_server.counters.token_requests == 1


def test_a_login_heals_a_session_that_was_over(auth_server: AuthServer) -> None:
    credential = credential_of(auth_server)
    auth_server.revoke_family()
    with pytest.raises(LoginRequired):
        call(credential, f"{auth_server.api_url}/thing")
    credential.login(auth_server.issue())
    assert by_threads(credential, f"{auth_server.api_url}/thing") == [200] * CALLS


def test_an_answer_that_is_lost_costs_a_strict_session_one_clear_error(auth_server: AuthServer) -> None:
    auth_server.expect_reuse()
    credential = credential_of(auth_server, profile=Profile("strict", resend=0))
    refused = credential.token()
    auth_server.lose_next_answer()
    found = outcomes([lambda: credential.token(refused=refused)] * CALLS)
    assert {type(error) for error in found} == {LoginRequired}
    assert {"the answer to an earlier request was lost" in str(error) for error in found} == {True}
    for _ in range(10):
        with pytest.raises(LoginRequired, match="the answer to an earlier request was lost"):
            credential.token()
    assert auth_server.counters.token_requests == 2


@pytest.mark.auth_server(mode="grace", grace=30.0)
@pytest.mark.parametrize("way", [by_threads, by_tasks])
def test_an_answer_that_is_lost_costs_nothing_where_the_server_has_a_grace_window(
    auth_server: AuthServer, way: Callable[[Credential, str], list[int]]
) -> None:
    credential = credential_of(auth_server, profile="grace:30")
    auth_server.revoke_access()
    auth_server.lose_next_answer()
    assert way(credential, f"{auth_server.api_url}/thing") == [200] * CALLS
    assert (auth_server.counters.token_requests, auth_server.counters.reissues) == (2, 1)
    assert auth_server.session == "alive"


def test_a_request_that_is_lost_costs_nothing(auth_server: AuthServer) -> None:
    credential = credential_of(auth_server, profile=Profile("strict", resend=0))
    auth_server.revoke_access()
    auth_server.lose_next_request()
    assert by_threads(credential, f"{auth_server.api_url}/thing") == [200] * CALLS
    assert auth_server.session == "alive"


# --- Callers that leave ---


def test_the_task_that_started_the_refresh_is_cancelled_half_way(auth_server: AuthServer, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/tokens.db"
    credential = credential_of(auth_server, store=store)
    auth_server.revoke_access()
    auth_server.hold("token_sent")
    url = f"{auth_server.api_url}/thing"

    async def run() -> list[int]:
        starter = asyncio.create_task(acall(credential, url))
        await asyncio.to_thread(auth_server.wait_for, "token_sent")
        others = [asyncio.create_task(acall(credential, url)) for _ in range(50)]
        await asyncio.sleep(0)
        starter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starter
        await asyncio.to_thread(auth_server.release, "token_sent")
        return list(await asyncio.gather(*others))

    assert asyncio.run(run()) == [200] * 50
    assert auth_server.counters.token_requests == 1
    assert_session_lives(auth_server, store)


def test_the_loop_that_started_the_refresh_ends_and_the_threads_are_answered(
    auth_server: AuthServer, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/tokens.db"
    credential = credential_of(auth_server, store=store)
    auth_server.revoke_access()
    auth_server.hold("token_sent")
    url = f"{auth_server.api_url}/thing"
    statuses: list[Any] = []
    others = threading.Thread(target=lambda: statuses.extend(outcomes([lambda: call(credential, url)] * 10)))

    async def start_and_end() -> None:
        asyncio.create_task(acall(credential, url))  # noqa: RUF006 - the loop ends before it
        await asyncio.to_thread(auth_server.wait_for, "token_sent")

    asyncio.run(start_and_end())
    others.start()
    auth_server.release("token_sent")
    others.join(PATIENCE)
    assert statuses == [200] * 10
    assert auth_server.counters.token_requests == 1
    assert_session_lives(auth_server, store)


def assert_session_lives(server: AuthServer, store: str) -> None:
    """What is on disk is the server's latest refresh token: another process can go on with it."""
    before = server.counters.token_requests
    with Child("refresh", store=store, url=server.json_refresh_url) as elsewhere:
        assert elsewhere.line() == "answered"
    assert server.counters.token_requests == before + 1
    assert server.session == "alive"


def test_an_old_token_that_is_refused_after_the_refresh_refreshes_nothing(auth_server: AuthServer) -> None:
    credential = credential_of(auth_server)
    old = credential.token()
    new = credential.token(refused=old)
    found: list[Token] = in_threads([lambda: credential.token(refused=old)] * 50)
    assert {token.identity for token in found} == {new.identity}
    assert auth_server.counters.token_requests == 1
