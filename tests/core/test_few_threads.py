"""Where the system has only so many threads, refreshers that ask other credentials are answered, or told at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from tests.core.calls import PATIENCE, expired, only, outcomes, until, until_renewals_are_over

from onerefresh import (
    Credential,
    RefresherFailed,
    RefreshOutcomeUnknown,
    RefreshUnavailable,
    Token,
    timekeeper,
    workers,
)
from onerefresh.workers import hand_over

pytestmark = pytest.mark.usefixtures("_no_thread_is_left")

COUNT = 6


def answer(access_token: str) -> dict[str, object]:
    return {"access_token": access_token, "refresh_token": "next", "expires_in": 3600}


def asked(refresher: Callable[[Token], Any], name: str) -> list[Credential]:
    """Credentials whose first access token is their number."""
    seeds = [{**expired(), "access_token": str(number)} for number in range(COUNT)]
    return [
        Credential(f"{name}-{number}", refresher, token=seed, store="memory", max_wait=PATIENCE)
        for number, seed in enumerate(seeds)
    ]


@pytest.fixture(params=[0, 1], ids=["at once", "at the second try"])
def others(request: pytest.FixtureRequest) -> list[Credential]:
    """What the refreshers ask. Those that try twice pause meanwhile, and then need a thread again."""
    failures: dict[str, int] = {}

    def refresh(token: Token) -> dict[str, object]:
        name = token.reveal()
        failures[name] = failures.get(name, 0) + 1
        if failures[name] <= request.param:
            raise ConnectionRefusedError
        return answer("other")

    return asked(refresh, "other")


@pytest.mark.seconds
@pytest.mark.parametrize("count", range(5))
def test_refreshers_that_ask_others_are_served(
    count: int, others: list[Credential], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They waited for work that no thread would do: each thread counted on the others, or on itself."""

    def refresh(token: Token) -> dict[str, object]:
        return answer(others[int(token.reveal())].token().reveal())

    ones = asked(refresh, "one")
    monkeypatch.setattr("_thread.start_new_thread", only(count))
    with_threads = [lambda one=one: one.token().reveal() for one in ones]
    assert outcomes(with_threads) == ["other"] * COUNT
    until(lambda: not workers._ready)  # what is left after the answer is done, too


@pytest.mark.parametrize("count", range(5))
def test_async_refreshers_that_ask_others_are_served_or_told_at_once(
    count: int, others: list[Credential], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refresh(token: Token) -> dict[str, object]:
        return answer((await others[int(token.reveal())].atoken()).reveal())

    ones = asked(refresh, "one")
    monkeypatch.setattr("_thread.start_new_thread", only(count))
    with_threads = [lambda one=one: one.token().reveal() for one in ones]
    for outcome in outcomes(with_threads):
        if outcome != "other":
            assert isinstance(outcome, (RefreshUnavailable, RefresherFailed))
            assert "no thread can be started" in outcome.message


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "a function that gives something to await"])
def test_what_cannot_begin_says_whether_it_may_have_sent(*, is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only thread runs an event loop. In its pauses it could serve others, but not on an event loop of theirs."""
    entered, queued = threading.Event(), threading.Event()

    async def outer(token: Token) -> dict[str, object]:
        entered.set()
        assert queued.wait(PATIENCE)
        return answer(last.token().reveal())

    async def inner(token: Token) -> dict[str, object]:
        return answer("inner")

    def revealed(one: Credential) -> str:
        return one.token().reveal()

    def is_longer(before: int) -> bool:
        return len(workers._ready) > before

    def credential(name: str, refresher: Callable[[Token], Any]) -> Credential:
        seed = {**expired(), "refresh_token": name}
        return Credential(name, refresher, token=seed, store="memory", max_wait=PATIENCE)

    last = credential("last", lambda token: answer("last"))
    second = credential("second", inner if is_async else lambda token: inner(token))
    first = credential("first", outer)
    monkeypatch.setattr("_thread.start_new_thread", only(1))
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(revealed, first)]
        assert entered.wait(PATIENCE)
        for one in (second, last):
            before = len(workers._ready)
            calls.append(pool.submit(revealed, one))
            until(partial(is_longer, before))
        queued.set()
        with pytest.raises(RefreshUnavailable if is_async else RefreshOutcomeUnknown, match="no thread can be started"):
            calls[1].result(PATIENCE)
        assert [calls[0].result(PATIENCE), calls[2].result(PATIENCE)] == ["last", "last"]
    if is_async:
        assert second.token().reveal() == "inner"  # nothing was sent, and nothing is remembered of it


class Pausing:
    """Fails at first, so that its renewal pauses. `asked`: in which order it and others were asked."""

    def __init__(self) -> None:
        self.asked, self.began = list[str](), threading.Event()

    def __call__(self, token: Token) -> dict[str, object]:
        name = token.reveal()
        self.asked.append(name)
        if self.asked == ["first"]:
            self.began.set()
            raise RefreshUnavailable("it is busy", retry_after=1.5)
        return answer(f"{name} new")

    def ask(self, first: Credential, second: Credential) -> list[str]:
        """What both give, where the second one is asked while the first one pauses."""
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(lambda: first.token().reveal())]
            assert self.began.wait(PATIENCE)
            until(lambda: timekeeper._live)
            calls.append(pool.submit(lambda: second.token().reveal()))
            return [call.result(PATIENCE) for call in calls]


def with_one_thread(name: str, refresher: Callable[[Token], Any]) -> Credential:
    seed = {**expired(), "access_token": name, "refresh_token": name}
    return Credential(name, refresher, token=seed, store="memory", max_wait=PATIENCE)


def test_a_pause_on_the_only_thread_holds_up_no_other_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no thread for the timekeeper: the one that there is waited, and nobody else had a turn."""
    pausing = Pausing()
    first, second = with_one_thread("first", pausing), with_one_thread("second", pausing)
    monkeypatch.setattr("_thread.start_new_thread", only(1))
    assert pausing.ask(first, second) == ["first new", "second new"]
    assert pausing.asked == ["first", "second", "first"]


def test_a_refresher_on_the_only_thread_may_ask_one_that_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pausing = Pausing()
    first = with_one_thread("first", pausing)
    second = with_one_thread("second", lambda token: answer(f"{first.token().reveal()} for another"))
    monkeypatch.setattr("_thread.start_new_thread", only(1))
    assert pausing.ask(first, second) == ["first new", "first new for another"]


def test_a_loop_that_is_blocked_holds_up_no_other_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its async refresher cannot begin. The only thread waited for that, over and over, and others waited for it."""

    async def on_the_loop(token: Token) -> dict[str, object]:
        return answer("first new")

    first, second = with_one_thread("first", on_the_loop), with_one_thread("second", lambda token: answer("second new"))
    other = with_one_thread("other", lambda token: answer("other new"))

    async def main() -> list[str]:
        asking = asyncio.ensure_future(first.atoken())
        await asyncio.sleep(0)
        until(lambda: timekeeper._live)  # without a turn of this loop, for which the renewal of the first one waits
        with ThreadPoolExecutor(1) as pool:
            elsewhere = pool.submit(lambda: other.token().reveal()).result(PATIENCE)
        with pytest.raises(RefreshUnavailable, match="no thread can be started"):
            second.token()
        return [(await asking).reveal(), elsewhere]

    monkeypatch.setattr("_thread.start_new_thread", only(1))
    assert asyncio.run(main()) == ["first new", "other new"]


def test_a_thread_that_waits_is_not_counted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    waits, go_on, seen = threading.Event(), threading.Event(), list[bool]()

    def wait() -> None:
        with workers.not_counted():
            seen.append(hand_over(lambda: None))
            waits.set()
            assert go_on.wait(PATIENCE)

    monkeypatch.setattr("_thread.start_new_thread", only(1))
    assert hand_over(wait)
    assert waits.wait(PATIENCE)
    assert not hand_over(lambda: None)
    go_on.set()
    until_renewals_are_over()
    assert seen == [False]


def test_a_thread_does_not_count_on_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    over = threading.Event()

    def work() -> None:
        seen.append(hand_over(lambda: None))
        over.set()

    monkeypatch.setattr("_thread.start_new_thread", only(1))
    assert hand_over(work)
    assert over.wait(PATIENCE)
    assert seen == [False]


@pytest.mark.seconds
def test_from_an_event_loop_they_are_served(others: list[Credential], monkeypatch: pytest.MonkeyPatch) -> None:
    def refresh(token: Token) -> dict[str, object]:
        return answer(others[int(token.reveal())].token().reveal())

    async def main() -> list[str]:
        monkeypatch.setattr("_thread.start_new_thread", only(3))
        return [token.reveal() for token in await asyncio.gather(*(one.atoken() for one in asked(refresh, "one")))]

    assert asyncio.run(main()) == ["other"] * COUNT


def test_the_timekeeper_keeps_time_where_it_works_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only thread that there is does the work, which waits for something that only time brings."""
    seen: list[bool] = []
    over = threading.Event()

    def work() -> None:
        rung = threading.Event()
        with workers.not_counted(helps=True) as help_out:
            timekeeper.Timer(0.0, rung.set)
            assert help_out is not None
            help_out()
            seen.append(rung.is_set())
        over.set()

    monkeypatch.setattr("_thread.start_new_thread", only(1))
    kept = timekeeper.Timer(3600.0, over.set)
    assert hand_over(work, surely=True)
    assert over.wait(PATIENCE)
    kept.cancel()
    assert seen == [True]
