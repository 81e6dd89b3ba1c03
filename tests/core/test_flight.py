"""Flight: one result for waiters of every kind, of which any may leave."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import threading
import time
import traceback
from types import ModuleType

import pytest
from tests.core.calls import PATIENCE, Refresher, expired, in_threads

from onerefresh import ClientRejected, Credential, RefreshUnavailable, Token
from onerefresh import flight as flights_room
from onerefresh.flight import SOON, Flight
from onerefresh.running_loop import running_loop

pytestmark = pytest.mark.slow


def test_it_is_settled_once_and_later_results_change_nothing() -> None:
    flight: Flight[str] = Flight()
    assert not flight.settled
    assert flight.settle("first")
    assert not flight.settle("second")
    assert not flight.settle(None, ClientRejected("late"))
    assert flight.settled
    assert flight.result() == "first"


def test_who_comes_second_wakes_nobody_before_the_first_has_settled_it() -> None:
    """Before, the waiters of an event loop woke up to a flight that was not settled: a `WaitTimeout` at once."""
    flight: Flight[str] = Flight()
    woken: list[bool] = []
    flight.when_settled(lambda: woken.append(flight.settled))
    flight._first["settle"] = -1  # another thread has come first, and has not got further
    assert not flight.settle("second")
    assert woken == []
    flight._first["settle"] = threading.get_ident()
    assert flight.settle("first")
    assert woken == [True]


def test_it_is_wanted_from_when_somebody_is_about_to_wait_until_he_leaves() -> None:
    flight: Flight[str] = Flight()
    assert not flight.has_waiters
    flight.expect()
    assert flight.has_waiters
    assert not flight.wait(0.0)
    assert not flight.has_waiters
    flight.expect()
    assert not asyncio.run(flight.wait_async(0.0))
    assert not flight.has_waiters


def test_a_daemon_thread_does_not_make_it_wanted() -> None:
    flight: Flight[str] = Flight()
    daemon = threading.Thread(target=flight.expect, daemon=True)
    daemon.start()
    daemon.join(PATIENCE)
    assert not flight.has_waiters


def test_it_is_not_wanted_for_long_by_somebody_who_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    flight: Flight[str] = Flight()
    flight.expect()
    now = time.monotonic()
    monkeypatch.setattr(flights_room, "monotonic", lambda: now + SOON)
    assert not flight.has_waiters


def test_a_thread_waits_until_it_is_settled() -> None:
    flight: Flight[str] = Flight()
    waiting = threading.Barrier(2)

    def wait() -> str:
        waiting.wait(PATIENCE)
        assert flight.wait(PATIENCE)
        return flight.result()

    def settle() -> str:
        waiting.wait(PATIENCE)
        flight.settle("done")
        return flight.result()

    assert in_threads([wait, settle]) == ["done", "done"]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.01])
def test_a_wait_that_is_over_says_so(seconds: float) -> None:
    flight: Flight[str] = Flight()
    assert not flight.wait(seconds)
    assert not asyncio.run(flight.wait_async(seconds))


def test_whoever_runs_it_does_not_wait_for_it() -> None:
    flight: Flight[str] = Flight()
    assert flight.begin()
    assert not flight.begin()
    with pytest.raises(RefreshUnavailable, match="call again after that has returned"):
        flight.wait(PATIENCE)
    assert not flight.has_waiters
    flight.settle("done")
    assert flight.wait(PATIENCE)


def test_two_who_wait_for_each_other_s_flight_do_not_wait_for_ever() -> None:
    flights: list[Flight[str]] = [Flight(), Flight()]
    begun = threading.Barrier(2)

    def run(number: int) -> bool:
        assert flights[number].begin()
        begun.wait(PATIENCE)
        try:
            return flights[1 - number].wait(PATIENCE)
        except RefreshUnavailable:
            return False
        finally:
            flights[number].settle("done")

    began = time.monotonic()
    assert not all(in_threads([lambda: run(0), lambda: run(1)]))
    assert time.monotonic() - began < PATIENCE / 2


def test_one_that_does_not_begin_is_started_once_more_by_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights_room, "BEGUN", 0.01)
    flight: Flight[str] = Flight()
    started: list[None] = []

    def start() -> None:
        started.append(None)
        flight.settle("done")

    def wait() -> bool:
        return flight.wait(PATIENCE, start)

    assert in_threads([wait] * 5) == [True] * 5
    assert len(started) == 1


def test_one_that_runs_is_not_started_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights_room, "BEGUN", 0.0)
    flight: Flight[str] = Flight()
    in_threads([flight.begin])
    assert not flight.wait(0.01, lambda: pytest.fail("it runs"))


@pytest.mark.parametrize("seconds", [math.inf, 10.0**12])
def test_a_wait_may_be_as_long_as_one_likes(seconds: float) -> None:
    flight: Flight[str] = Flight()

    async def hear() -> bool:
        waiting = asyncio.create_task(flight.wait_async(seconds))
        await asyncio.sleep(0)
        await asyncio.to_thread(flight.settle, "done")
        return await waiting

    assert asyncio.run(hear())
    assert flight.wait(seconds)


def test_what_is_settled_is_heard_at_once() -> None:
    flight: Flight[str] = Flight()
    flight.settle("done")
    assert flight.wait(0.0)
    assert asyncio.run(flight.wait_async(0.0))


def test_tasks_of_several_loops_and_threads_hear_of_it() -> None:
    flight: Flight[str] = Flight()
    ready = threading.Barrier(6)

    async def tasks() -> list[bool]:
        waiting = [asyncio.create_task(flight.wait_async(PATIENCE)) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(ready.wait, PATIENCE)
        return list(await asyncio.gather(*waiting))

    def on_a_loop() -> list[bool]:
        return asyncio.run(tasks())

    def on_a_thread() -> list[bool]:
        ready.wait(PATIENCE)
        return [flight.wait(PATIENCE)]

    def settle() -> list[bool]:
        ready.wait(PATIENCE)
        return [flight.settle("done")]

    wait_async = in_threads([on_a_loop, on_a_loop, on_a_loop, on_a_thread, on_a_thread, settle])
    assert [all(told) for told in wait_async] == [True] * 6
    assert [len(told) for told in wait_async] == [20, 20, 20, 1, 1, 1]


def test_cancelled_waiters_leave_nothing_behind_and_disturb_nobody() -> None:
    flight: Flight[str] = Flight()

    async def run() -> list[object]:
        waiting = [asyncio.create_task(flight.wait_async(PATIENCE)) for _ in range(100)]
        await asyncio.sleep(0)
        for task in waiting[:50]:
            task.cancel()
        await asyncio.sleep(0)
        flight.settle("done")
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    found = asyncio.run(run())
    assert [type(result) for result in found[:50]] == [asyncio.CancelledError] * 50
    assert found[50:] == [True] * 50


def test_a_waiter_that_is_cancelled_when_it_is_woken_is_cancelled() -> None:
    flight: Flight[str] = Flight()

    async def run() -> object:
        waiting = asyncio.create_task(flight.wait_async(PATIENCE))
        await asyncio.sleep(0)
        flight.settle("done")
        waiting.cancel()
        return (await asyncio.gather(waiting, return_exceptions=True))[0]

    assert isinstance(asyncio.run(run()), asyncio.CancelledError)


def test_a_timeout_around_it_is_the_callers_own() -> None:
    flight: Flight[str] = Flight()

    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await flight.wait_async(PATIENCE)

    asyncio.run(run())
    assert flight.settle("done")


def test_a_loop_that_is_gone_disturbs_nobody() -> None:
    flight: Flight[str] = Flight()
    loop = asyncio.new_event_loop()
    abandoned = loop.create_task(flight.wait_async(PATIENCE))
    loop.run_until_complete(asyncio.sleep(0))
    abandoned.cancel()
    loop.run_until_complete(asyncio.gather(abandoned, return_exceptions=True))
    loop.close()
    assert flight.settle("done")
    assert flight.wait(0.0)


def test_the_same_loop_may_wait_again_and_again() -> None:
    async def run() -> None:
        for _ in range(3):
            flight: Flight[int] = Flight()
            assert not await flight.wait_async(0.0)
            waiting = asyncio.create_task(flight.wait_async(PATIENCE))
            await asyncio.sleep(0)
            flight.settle(1)
            assert await waiting

    asyncio.run(run())


def test_each_caller_is_raised_its_own_error_and_the_shared_one_does_not_grow() -> None:
    flight: Flight[str] = Flight()
    shared = RefreshUnavailable("down", retry_after=3.0, credential="acme", generation=7)
    flight.settle(None, shared)

    def raised() -> RefreshUnavailable:
        with pytest.raises(RefreshUnavailable) as caught:
            flight.result()
        return caught.value

    found = in_threads([raised] * 50)
    assert len({id(error) for error in found}) == 50
    for error in found:
        assert (error.retry_after, error.credential, error.generation) == (3.0, "acme", 7)
        assert error.__cause__ is shared
    assert len(traceback.extract_tb(shared.__traceback__)) == 0
    assert max(len(traceback.extract_tb(error.__traceback__)) for error in found) < 5


def test_ten_thousand_waiters_are_answered_by_one_refresh() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())

    async def run() -> list[Token]:
        waiting = [asyncio.create_task(credential.atoken()) for _ in range(10_000)]
        await asyncio.to_thread(refresher.wait_until_entered)
        refresher.leave.set()
        return list(await asyncio.gather(*waiting))

    tokens = asyncio.run(run())
    assert (len(tokens), {token.generation for token in tokens}, refresher.calls) == (10_000, {2}, 1)


def test_a_thousand_threads_are_answered_by_one_refresh() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())

    def open_the_gate() -> Token:
        refresher.wait_until_entered()
        refresher.leave.set()
        return credential.token()

    tokens = in_threads([*[credential.token] * 999, open_the_gate])
    assert ({token.generation for token in tokens}, refresher.calls) == ({2}, 1)


def test_a_flight_that_is_over_is_not_kept() -> None:
    gc.collect()
    before = sum(isinstance(thing, Flight) for thing in gc.get_objects())
    credential = Credential("acme", Refresher(), token=expired())
    for _ in range(3):
        following = credential.token(refused=credential.token())
        credential.replayed(following, accepted=True)
    gc.collect()
    assert sum(isinstance(thing, Flight) for thing in gc.get_objects()) <= before + 1


def test_outside_of_any_loop_there_is_none() -> None:
    assert running_loop() is None


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_a_library_that_another_thread_is_importing_disturbs_nobody(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, ModuleType(name))  # so it looks until its import is done
    assert running_loop() is None


def test_the_running_loop_is_found() -> None:
    async def run() -> bool:
        return running_loop() is asyncio.get_running_loop()

    assert asyncio.run(run())


def test_who_wants_to_be_called_is_called_once_it_is_settled_whoever_settles_it() -> None:
    flight: Flight[str] = Flight()
    called: list[str] = []
    flight.when_settled(lambda: called.append("before"))
    assert called == []
    flight.settle("result")
    flight.settle("another")
    assert called == ["before"]
    flight.when_settled(lambda: called.append("after"))
    assert called == ["before", "after"]
