"""Tokens that last: `min_valid` for a job that would outlive its token, and `early` for when one is refreshed."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.calls import Refresher, first_token, in_threads, listening
from tests.core.driver import START

from onerefresh import ConfigurationError, Credential, Credentials, LoginRequired, Token, WaitTimeout
from onerefresh.events import Kind
from onerefresh.judge_answer import judge_answer
from onerefresh.policy import outlasts_until, thresholds
from onerefresh.stores.memory import MemoryStore
from onerefresh.verdict import RefreshFailure

WRONG: list[Any] = [True, -1, math.nan, "60", "", [], Token]


def living(seconds: float | None) -> Token:
    return Token("a", "r", expires_at=None if seconds is None else START + seconds, issued_at=START)


# --- The rules ---


@pytest.mark.parametrize(
    ("lives", "min_valid", "enough_for"),
    [
        (3600.0, 600.0, 3000.0),
        (3600.0, 0.0, 3600.0),
        (3600.0, 3600.0, 360.0),  # never in the first tenth of its life
        (3600.0, 3300.0, 360.0),
        (3600.0, 3000.0, 600.0),
        (300.0, 600.0, 150.0),  # the next one lives no longer
        (300.0, math.inf, 150.0),
        (0.0, 60.0, 0.0),
        (None, 60.0, math.inf),
    ],
)
def test_until_when_a_token_is_enough(lives: float | None, min_valid: float, enough_for: float) -> None:
    assert outlasts_until(living(lives), min_valid) - START == pytest.approx(enough_for)


@given(st.floats(1.0, 10**7), st.floats(0.0, 10**7))
def test_no_token_is_refreshed_for_it_in_the_first_tenth_of_its_life(lives: float, min_valid: float) -> None:
    assert outlasts_until(living(lives), min_valid) >= START + lives * 0.1 - 1e-3


@pytest.mark.parametrize(
    ("lives", "early", "ages_after"),
    [
        (3600.0, None, 3300.0),
        (3600.0, 600.0, 3000.0),
        (3600.0, 0.25, 2700.0),
        (3600.0, 0.9, 1800.0),  # never in the first half of its life
        (3600.0, 7200.0, 1800.0),
        (3600.0, 1.0, 3595.0),
        (3600.0, 0.0001, 3595.0),
        (3600.0, False, 3595.0),
        (10.0, False, 8.0),
        (None, 600.0, math.inf),
        (None, False, math.inf),
    ],
)
def test_when_a_token_ages_for_whoever_says_so(lives: float | None, early: float | None, ages_after: float) -> None:
    found = thresholds(living(lives), 0.0, early)
    assert found.refresh_at - START == pytest.approx(ages_after)
    assert found.unusable_at == thresholds(living(lives), 0.0).unusable_at, "it works as long as before"


@given(st.floats(1.0, 10**7), st.floats(1e-6, 10**7), st.floats(0.0, 1.0, exclude_max=True))
def test_it_is_fresh_for_half_of_its_life_whoever_says_what(lives: float, early: float, jitter: float) -> None:
    found = thresholds(living(lives), jitter, early)
    assert START + lives / 2.0 - 1e-3 <= found.refresh_at <= found.unusable_at


@pytest.mark.parametrize("early", [True, 0, 0.0, -1, math.nan, math.inf, "600", "", [600], b"1"])
def test_early_is_refused_at_once_where_it_means_nothing(early: Any) -> None:
    with pytest.raises(ConfigurationError, match="early must be"):
        Credential("acme", Refresher(), early=early)
    with pytest.raises(ConfigurationError, match="early must be"):
        Credentials(Refresher(), store=MemoryStore(), early=early)


@pytest.mark.parametrize("min_valid", WRONG)
def test_so_is_min_valid(min_valid: Any) -> None:
    credential = Credential("acme", Refresher(), token=first_token())
    with pytest.raises(ConfigurationError, match="min_valid must be"):
        credential.token(min_valid=min_valid)
    with pytest.raises(ConfigurationError, match="min_valid must be"):
        asyncio.run(credential.atoken(min_valid=min_valid))


# --- early ---


def settled(credential: Credential) -> None:
    flight = credential._memory.flight
    assert flight is None or flight.wait(20.0)


def old(left: float, life: float = 3600.0) -> Token:
    """A token that lived for a while: `left` seconds of its `life` are left."""
    token = Token("access-0", "refresh-0", expires_in=left)
    object.__setattr__(token, "issued_at", token.issued_at - (life - left))
    return token


@pytest.mark.parametrize(
    ("early", "left", "ages"),
    [
        (None, 200.0, True),
        (False, 200.0, False),
        (100.0, 200.0, False),
        (1000.0, 800.0, True),
        (0.5, 1600.0, True),
        (0.1, 400.0, False),
    ],
)
def test_early_decides_when_the_background_refresh_comes(early: Any, left: float, ages: bool) -> None:
    refresher = Refresher()
    with Credential("acme", refresher, token=old(left), early=early) as credential:
        assert credential.current() is not None
        settled(credential)
        assert refresher.calls == ages


def test_without_a_refresh_ahead_of_time_it_comes_when_the_token_is_over_or_refused() -> None:
    refresher = Refresher()
    with Credential("acme", refresher, token=old(3.0), early=False) as credential:
        assert credential.token().reveal() == "access-1"
    with Credential("acme", refresher, token=old(200.0), early=False) as credential:
        assert credential.token(refused=credential.token()).reveal() == "access-2"


def test_early_is_for_all_tenants() -> None:
    refresher = Refresher()
    with Credentials(refresher, store=MemoryStore(), token_for=lambda _: old(200.0), early=False) as several:
        assert several["a"].token().reveal() == "access-0"
        settled(several["a"])
        assert refresher.calls == 0


# --- min_valid ---


def test_a_token_that_lasts_is_the_answer() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=old(1800.0))
    assert credential.token(min_valid=1700.0).reveal() == "access-0"
    assert asyncio.run(credential.atoken(min_valid=1700.0)).reveal() == "access-0"
    assert refresher.calls == 0


def test_one_of_unknown_expiry_is_the_answer() -> None:
    refresher = Refresher()
    assert Credential("acme", refresher, token=first_token()).token(min_valid=1e6).reveal() == "access-0"
    assert refresher.calls == 0


def test_one_with_less_left_is_refreshed_once_for_all() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=old(1800.0))
    gate = threading.Barrier(21)

    def ask() -> str:
        gate.wait(20.0)
        return credential.token(min_valid=2000.0).reveal()

    def meanwhile() -> str:
        gate.wait(20.0)
        refresher.entered.wait(20.0)
        plain = credential.token().reveal()  # whoever needs no more goes on
        refresher.leave.set()
        return plain

    found = in_threads([*[ask] * 20, meanwhile])
    assert found == ["access-1"] * 20 + ["access-0"]
    assert refresher.calls == 1


def test_tasks_share_it_too() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=old(1800.0))

    async def main() -> list[Token]:
        return await asyncio.gather(*(credential.atoken(min_valid=2000.0) for _ in range(20)))

    assert [token.reveal() for token in asyncio.run(main())] == ["access-1"] * 20
    assert refresher.calls == 1


def test_callers_who_need_different_times_share_what_is_enough_for_both() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=old(1800.0))
    needs = [1900.0, 2000.0, 2500.0, 3000.0] * 5
    found = in_threads([lambda need=need: credential.token(min_valid=need).reveal() for need in needs])  # type: ignore[misc]
    assert set(found) == {"access-1"}
    assert refresher.calls == 1


@pytest.mark.parametrize("lives", [5.0, 60.0, 300.0])
def test_a_server_whose_tokens_live_shorter_is_not_asked_for_each_call(lives: float) -> None:
    refresher = Refresher(expires_in=lives)
    credential = Credential("acme", refresher, token=old(1800.0))
    found = [credential.token(min_valid=7200.0) for _ in range(50)]
    assert refresher.calls == 1
    assert {token.reveal() for token in found} == {"access-1"}, "the freshest one, although it is not enough"


def test_nor_are_parallel_callers_who_need_more_than_there_is() -> None:
    refresher = Refresher(expires_in=300.0)
    credential = Credential("acme", refresher, token=old(1800.0))
    in_threads([lambda: credential.token(min_valid=7200.0)] * 20)
    assert refresher.calls == 1


def test_the_next_process_asks_no_more() -> None:
    store, refresher = MemoryStore(), Refresher(expires_in=300.0)
    for _ in range(5):
        with Credential("acme", refresher, token=old(1800.0), store=store) as credential:
            credential.token(min_valid=7200.0)
    assert refresher.calls == 1


def test_it_is_a_refresh_ahead_of_time_in_the_events() -> None:
    with listening() as heard:
        Credential("acme", Refresher(), token=old(1800.0)).token(min_valid=2000.0)
    assert [event.facts.reason for event in heard if event.kind is Kind.REFRESHED] == ["short"]


def test_after_a_refusal_the_next_token_has_to_last_as_well() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher, token=old(1800.0))
    token = credential.token()
    assert credential.token(refused=token, min_valid=2000.0).reveal() == "access-1"
    assert refresher.calls == 1


# --- Where the refresh fails ---


@pytest.mark.seconds
@pytest.mark.parametrize("status", [503, 500, 400])
def test_the_present_token_is_the_answer_where_the_refresh_fails(status: int) -> None:
    refresher = Refresher()
    refresher.failure = RefreshFailure(judge_answer(status, {"error": "invalid_grant"} if status == 400 else b"no"))
    credential = Credential("acme", refresher, token=old(1800.0), profile="static")
    assert [credential.token(min_valid=2000.0).reveal() for _ in range(5)] == ["access-0"] * 5
    assert refresher.calls <= 4, "as for any other failure"


def test_where_nothing_serves_the_error_is_that_of_any_call() -> None:
    refresher = Refresher()
    refresher.failure = RefreshFailure(judge_answer(400, {"error": "invalid_grant"}))
    with pytest.raises(LoginRequired):
        Credential("acme", refresher, token=old(1.0)).token(min_valid=2000.0)


def test_the_present_token_is_the_answer_where_the_refresh_takes_too_long() -> None:
    refresher = Refresher(gated=True)
    with Credential("acme", refresher, token=old(1800.0)) as credential:
        assert credential.token(min_valid=2000.0, max_wait=0.05).reveal() == "access-0"
        assert asyncio.run(credential.atoken(min_valid=2000.0, max_wait=0.05)).reveal() == "access-0"
        refresher.leave.set()
        assert credential.token(min_valid=2000.0).reveal() == "access-1"
    assert refresher.calls == 1


def test_a_wait_for_a_first_token_has_its_own_end() -> None:
    refresher = Refresher(gated=True)
    with Credential("acme", refresher, token=old(1.0)) as credential:
        with pytest.raises(WaitTimeout):
            credential.token(min_valid=2000.0, max_wait=0.05)
        refresher.leave.set()


def test_a_refresher_that_asks_for_its_own_token_gets_the_present_one() -> None:
    found: list[str] = []

    def refresher(token: Token) -> dict[str, object]:
        found.append(credential.token(min_valid=2000.0).reveal())
        return {"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": 3600}

    credential = Credential("acme", refresher, token=old(1800.0))
    assert credential.token(min_valid=2000.0).reveal() == "access-1"
    assert found == ["access-0"]


def test_a_blocking_call_on_the_loop_of_an_async_refresher_is_refused() -> None:
    refresher = Refresher()
    credential = Credential("acme", refresher.on_a_loop, token=old(1800.0))

    async def main() -> str:
        with pytest.raises(ConfigurationError, match="blocks the event loop"):
            credential.token(min_valid=2000.0)
        return (await credential.atoken(min_valid=2000.0)).reveal()

    assert asyncio.run(main()) == "access-1"
