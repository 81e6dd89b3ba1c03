"""Processes that are interrupted, or end, in the middle of a refresh: the new token is on disk all the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.core.calls import PATIENCE, refresher_of
from tests.core.children import Child

from onerefresh import Credential
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow


@pytest.fixture
def store(auth_server: AuthServer, tmp_path: Path) -> str:
    """A store with the server's first token."""
    url = f"sqlite:///{tmp_path}/tokens.db"
    with Credential("acme", refresher_of(auth_server), token=auth_server.issue(), store=url) as first:
        first.token()
    return url


def assert_session_lives(server: AuthServer, store: str, generation: int = 2) -> None:
    """What is on disk is the server's latest refresh token: somebody else can go on with it."""
    before = server.counters.token_requests
    with Credential("acme", refresher_of(server), store=store) as elsewhere:
        first = elsewhere.token()
        elsewhere.replayed(first, accepted=True)
        assert (first.generation, elsewhere.token(refused=first).generation) == (generation, generation + 1)
    assert server.counters.token_requests == before + 1
    assert server.session == "alive"


@pytest.mark.parametrize(
    ("where", "code"), [("the main thread", 0), ("a loop", 0), pytest.param("nowhere", -2, id="uncaught")]
)
def test_ctrl_c_costs_one_request_and_the_others_are_answered(
    auth_server: AuthServer, store: str, where: str, code: int
) -> None:
    auth_server.hold("token_sent")
    with Child("interrupted", store=store, url=auth_server.json_refresh_url, where=where) as child:
        assert child.line() == "waiting"
        auth_server.wait_for("token_sent")
        child.interrupt()
        assert child.line() == "interrupted"
        auth_server.release("token_sent")
        assert child.rest() == ["answered 2"] * 5
        assert child.wait() == code
    assert auth_server.counters.token_requests == 1
    assert_session_lives(auth_server, store)


@pytest.mark.parametrize("how", ["blocking", "async"])
def test_a_process_that_ends_meanwhile_leaves_the_new_token_on_disk(
    auth_server: AuthServer, store: str, how: str
) -> None:
    auth_server.hold("token_sent")
    with Child("leave", store=store, url=auth_server.json_refresh_url, how=how) as child:
        assert child.line() == "leaving"
        assert child.line() == "the main thread is over"
        auth_server.wait_for("token_sent")
        auth_server.release("token_sent")
        assert child.wait() == 0
    assert auth_server.counters.token_requests == 1
    assert_session_lives(auth_server, store)


@pytest.mark.parametrize("where", ["a thread", "a loop", "atexit"])
def test_who_asks_when_the_main_thread_is_over_may_give_way_and_is_answered(
    auth_server: AuthServer, store: str, where: str
) -> None:
    with Child("ask_last", store=store, url=auth_server.json_refresh_url, where=where) as child:
        assert child.line() == "ready"
        assert_session_lives(auth_server, store, 1)
        child.tell("refreshed")
        assert child.rest() == ["2, then 3"]
        assert child.wait() == 0


def test_who_waits_for_another_process_when_the_main_thread_is_over_is_answered(
    auth_server: AuthServer, store: str
) -> None:
    with (
        Child("wait_last", store=store, url=auth_server.json_refresh_url) as child,
        Credential("acme", refresher_of(auth_server), store=store) as elsewhere,
        ThreadPoolExecutor(1) as pool,
    ):
        assert child.line() == "ready"
        auth_server.hold("token_sent")
        holder = pool.submit(lambda: elsewhere.token(refused=elsewhere.token()))
        auth_server.wait_for("token_sent")
        child.tell("held")
        assert child.line() == "waits"
        auth_server.release("token_sent")
        assert child.rest() == ["answered 2"]
        assert child.wait() == 0
        assert holder.result(PATIENCE).generation == 2
    assert auth_server.counters.token_requests == 1


@pytest.mark.parametrize("status", [500, 503])
def test_a_process_that_ends_does_not_go_on_trying(auth_server: AuthServer, store: str, status: int) -> None:
    auth_server.hold("token")
    auth_server.fail_next(count=None, status=status, headers={"Retry-After": "4"})
    with Child("leave", store=store, url=auth_server.json_refresh_url) as child:
        assert child.line() == "leaving"
        assert child.line() == "the main thread is over"
        auth_server.wait_for("token")
        auth_server.release("token")
        assert child.wait() == 0
    assert auth_server.counters.token_requests == 1
    with Credential("acme", refresher_of(auth_server), store=store) as elsewhere:
        found = elsewhere.status()
    assert (found.state, found.generation) == ("idle", 1)
    assert found.failure is not None


@pytest.mark.parametrize("status", [500, 503])
def test_threads_that_outlive_the_main_one_are_answered_although_the_endpoint_fails_at_first(
    auth_server: AuthServer, store: str, status: int
) -> None:
    auth_server.hold("token")
    auth_server.fail_next(count=1, status=status)
    with Child("outlive", store=store, url=auth_server.json_refresh_url) as child:
        assert child.line() == "the main thread is over"
        auth_server.wait_for("token")
        auth_server.release("token")
        assert child.rest() == ["answered 2"] * 2
        assert child.wait() == 0
    assert auth_server.counters.token_requests == 2
    assert_session_lives(auth_server, store)
