"""Credential: what goes wrong, whom it is told, wrong arguments, and odd circumstances."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.core.calls import (
    PATIENCE,
    Refresher,
    expired,
    outcomes,
)

from onerefresh import (
    ConfigurationError,
    Credential,
    LoginRequired,
    OnerefreshError,
    RefresherFailed,
    RefreshUnavailable,
    StoreUnavailable,
)
from onerefresh.store import Versioned
from onerefresh.stores.memory import MemoryStore

# --- Failures ---


def test_the_exception_of_a_refresher_is_found_behind_what_callers_are_raised() -> None:
    refresher = Refresher()
    refresher.failure = KeyError("mine")
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(RefresherFailed, match="KeyError") as caught:
        credential.token()
    assert (caught.value.credential, caught.value.generation) == ("acme", 1)
    reasons = []
    reason: BaseException | None = caught.value
    while reason is not None:
        reasons.append(reason)
        reason = reason.__cause__
    assert refresher.failure in reasons


def test_a_failure_of_the_refresher_is_not_repeated_by_the_calls_that_follow() -> None:
    refresher = Refresher()
    refresher.failure = KeyError("mine")
    credential = Credential("acme", refresher, token=expired())
    for _ in range(10):
        with pytest.raises(RefresherFailed):
            credential.token()
    assert refresher.calls == 1


@pytest.mark.parametrize("ending", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_a_refresher_that_ends_its_thread_is_an_error_and_leaves_no_claim_behind(ending: BaseException) -> None:
    refresher = Refresher()
    refresher.failure = ending
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(RefresherFailed):
        credential.token()
    assert credential.status().state == "idle"


def test_a_dead_session_is_told_to_everybody_and_asks_nothing_again() -> None:
    refresher = Refresher()
    refresher.failure = LoginRequired("revoked")
    credential = Credential("acme", refresher, token=expired())
    assert {type(error) for error in outcomes([credential.token] * 20)} == {LoginRequired}
    for _ in range(20):
        with pytest.raises(LoginRequired, match="revoked"):
            credential.token()
    assert refresher.calls == 1
    assert credential.status().state == "dead"


def test_an_answer_without_a_token_is_told_with_the_names_it_holds() -> None:
    credential = Credential("acme", lambda token: {"ok": True}, token=expired())
    with pytest.raises(OnerefreshError, match=r"access_token.*ok"):
        credential.token()


@pytest.mark.parametrize("answer", [None, "text", 7, ["access-1"], {"access_token": ""}, {"access_token": None}])
def test_an_answer_that_is_none_is_an_error_that_says_what_to_return(answer: Any) -> None:
    credential = Credential("acme", lambda token: answer, token=expired())
    with pytest.raises(OnerefreshError, match="access_token"):
        credential.token()


def test_a_store_that_raises_what_it_likes_is_an_unavailable_store() -> None:
    class Broken(MemoryStore):
        def load(self, key: str) -> Versioned | None:
            raise OSError("no such thing")

    with pytest.raises(StoreUnavailable, match="OSError"):
        Credential("acme", Refresher(), store=Broken()).token()


def test_nothing_is_sent_when_the_store_cannot_be_written() -> None:
    class Full(MemoryStore):
        def cas(self, key: str, expected: str | None, body: str) -> str:
            if expected is None:
                return super().cas(key, expected, body)
            raise StoreUnavailable("the disk is full")

    refresher = Refresher()
    credential = Credential("acme", refresher, token=expired(), store=Full())
    with pytest.raises(StoreUnavailable, match="disk is full"):
        credential.token()
    assert refresher.calls == 0


# --- Odd circumstances ---


def test_an_answer_that_is_over_when_it_comes_is_not_refreshed_by_each_call() -> None:
    """A clock is off, here or at the server: then only a refusal can tell when the token ends."""
    refresher = Refresher(expires_in=None)
    credential = Credential("acme", lambda token: {**refresher(token), "expires_at": 1_000_000_000}, token=expired())
    assert {credential.token().generation for _ in range(20)} == {2}
    assert refresher.calls == 1
    credential.replayed(credential.token(), accepted=True)
    assert credential.token(refused=credential.token()).generation == 3


def no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_where_no_thread_can_be_started_the_refresh_runs_in_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = Credential("acme", Refresher(), token=expired())
    monkeypatch.setattr("_thread.start_new_thread", no_thread)
    assert credential.token().generation == 2
    assert credential.status().state == "idle"


@pytest.mark.parametrize("is_async", [False, True])
def test_where_no_thread_can_be_started_an_event_loop_is_not_held_up(
    monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher.on_a_loop if is_async else refresher, token=expired())

    async def ask() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("_thread.start_new_thread", no_thread)
            for asking in (credential.atoken, credential.alogout):
                with pytest.raises(RefreshUnavailable, match="no thread can be started"):
                    await asking()

    asyncio.run(ask())
    assert refresher.calls == 0
    credential.login({"access_token": "access-1", "expires_in": 60})
    assert credential.token().reveal() == "access-1"


# --- Arguments ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"key": ""}, "key"),
        ({"key": 7}, "key"),
        ({"key": "a\nb"}, "key"),
        ({"key": "x" * 513}, "key"),
        ({"refresher": "https://login.example/token"}, "refresher"),
        ({"save": "file"}, "save"),
        ({"obtain": 1}, "obtain"),
        ({"save": print, "store": "memory"}, "save= replaces store="),
        ({"loop": 3}, "loop"),
        ({"profile": "nobody"}, "profile"),
        ({"profile": "grace:soon"}, "profile"),
        ({"max_wait": -1}, "max_wait"),
        ({"max_wait": True}, "max_wait"),
        ({"max_wait": float("nan")}, "max_wait"),
        ({"max_wait": "60"}, "max_wait"),
        ({"store": "mongodb://here"}, "unknown store"),
        ({"store": 5}, "store"),
        ({"token": {}}, "token="),
        ({"token": {"access_token": 5}}, "token="),
        ({"token": "access-0"}, "token="),
    ],
)
def test_a_wrong_argument_is_told_at_once(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Credential(**{"key": "acme", "refresher": Refresher(), **arguments})


def test_a_login_needs_a_token() -> None:
    with pytest.raises(ConfigurationError, match="obtain="):
        Credential("acme", Refresher()).login()
    with pytest.raises(ConfigurationError, match=r"login\(\)"):
        Credential("acme", Refresher()).login({"tokens": "access-0"})


def test_a_wrong_wait_is_told_before_anything_is_sent() -> None:
    refresher = Refresher()
    with pytest.raises(ConfigurationError, match="max_wait"):
        Credential("acme", refresher, token=expired()).token(max_wait=-1.0)
    assert refresher.calls == 0


@pytest.mark.parametrize("timeout", [None, "ten", -1.0, object()])
def test_a_refresher_whose_timeout_is_no_number_of_seconds_still_works(timeout: Any) -> None:
    refresher = Refresher()
    refresher.timeout = timeout
    assert Credential("acme", refresher, token=expired(), max_wait=PATIENCE).token().generation == 2
