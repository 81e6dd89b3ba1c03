"""Waiters in trio: also in its guest mode, and cancelled at every checkpoint."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from tests.core.calls import PATIENCE, Refresher, expired, first_token, outcomes

from onerefresh import ConfigurationError, Credential, LoginRequired, RefreshOutcomeUnknown, Token, WaitTimeout
from onerefresh.flight import Flight
from onerefresh.running_loop import running_loop


async def until_entered(refresher: Refresher) -> None:
    await trio.to_thread.run_sync(refresher.wait_until_entered)


def test_a_hundred_tasks_share_one_refresh() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    got: list[Token] = []

    async def ask() -> None:
        got.append(await credential.atoken())

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
            await until_entered(refresher)
            refresher.leave.set()

    trio.run(run)
    assert (len(got), {token.generation for token in got}, refresher.calls) == (100, {2}, 1)


def test_trio_asyncio_and_threads_share_one_refresh() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    got: list[Any] = []

    def others() -> None:
        got.extend(outcomes([credential.token, lambda: asyncio.run(credential.atoken())]))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, others)
            await until_entered(refresher)
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            refresher.leave.set()

    async def ask() -> None:
        got.append(await credential.atoken())

    trio.run(run)
    assert ([token.generation for token in got], refresher.calls) == ([2, 2, 2], 1)


def test_an_async_refresher_runs_in_trio() -> None:
    refresher = Refresher()

    async def refresh(token: Token) -> dict[str, object]:
        await trio.sleep(0)
        refresher.begin(token)
        return refresher.end()

    credential = Credential("acme", refresh, token=expired())

    async def run() -> None:
        assert (await credential.atoken()).generation == 2
        assert await credential.abearer() == "access-1"

    trio.run(run)
    assert refresher.calls == 1


def test_an_async_save_and_the_other_async_forms_work_in_trio() -> None:
    kept: list[str] = []

    async def save(token: Token) -> None:
        await trio.sleep(0)
        kept.append(token.reveal())

    async def run() -> None:
        credential = Credential("acme", Refresher(), token=expired(), save=save)
        await credential.atoken()
        await credential.alogin({"access_token": "access-new", "refresh_token": "refresh-new"})
        assert (await credential.astatus()).state == "idle"
        await credential.alogout()
        with pytest.raises(LoginRequired):
            await credential.atoken()
        await credential.aclose()

    trio.run(run)
    assert kept == ["access-1", "access-new"]


def test_a_run_that_ends_meanwhile_is_an_error_for_the_others() -> None:
    refresher = Refresher()
    got: list[Any] = []

    async def refresh(token: Token) -> dict[str, object]:
        refresher.begin(token)
        await trio.sleep_forever()
        raise AssertionError

    credential = Credential("acme", refresh, token=expired())
    waiting = threading.Thread(target=lambda: got.extend(outcomes([credential.token])))

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(credential.atoken)
            await until_entered(refresher)
            waiting.start()
            nursery.cancel_scope.cancel()

    trio.run(run)
    waiting.join(PATIENCE)
    assert [type(error) for error in got] == [RefreshOutcomeUnknown]


def test_a_blocking_wait_for_a_refresh_that_needs_this_run_is_refused() -> None:
    refresher = Refresher()

    async def refresh(token: Token) -> dict[str, object]:
        refresher.begin(token)
        while not refresher.leave.is_set():
            await trio.sleep(0.005)
        return refresher.end()

    refresher.leave.clear()
    credential = Credential("acme", refresh, token=expired())

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(credential.atoken)
            await until_entered(refresher)
            with pytest.raises(ConfigurationError, match="await atoken"):
                credential.token()
            refresher.leave.set()

    trio.run(run)
    assert refresher.calls == 1


def test_a_refresher_that_asks_its_own_credential_gets_an_error() -> None:
    told: list[Exception] = []

    async def refresh(token: Token) -> dict[str, object]:
        try:
            await credential.atoken()
        except ConfigurationError as error:
            told.append(error)
        return first_token()

    credential = Credential("acme", refresh, token=expired())
    trio.run(credential.atoken)
    assert len(told) == 1


def test_max_wait_holds_in_trio() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())

    async def run() -> None:
        with pytest.raises(WaitTimeout):
            await credential.atoken(max_wait=0.01)
        refresher.leave.set()
        assert (await credential.atoken()).generation == 2

    trio.run(run)
    assert refresher.calls == 1


class _CancelAt(trio.abc.Instrument):
    """Cancels a scope at the n-th step of a task."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.scope = trio.CancelScope()
        self.task: object = None
        self.was_reached = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is not self.task or self.was_reached:
            return
        self.steps -= 1
        if self.steps < 0:
            self.was_reached = True
            self.scope.cancel()


@pytest.mark.parametrize("blocking", [True, False])
def test_cancellation_at_every_checkpoint_harms_nobody(blocking: bool) -> None:
    """At step 0, 1, 2 … of the call, until it is over before it is cancelled."""
    for steps in range(50):
        cancel = _CancelAt(steps)
        assert_unharmed(cancel, Refresher(gated=True), f"refresh of step {steps}", blocking=blocking)
        if not cancel.was_reached:
            break
    assert 0 < steps < 50


def assert_unharmed(cancel: _CancelAt, refresher: Refresher, first_refresh_token: str, *, blocking: bool) -> None:
    """In a session of its own: all objects of one session know its newest token."""

    async def refresh(token: Token) -> dict[str, object]:
        refresher.begin(token)
        while not refresher.leave.is_set():
            await trio.sleep(0.002)
        return refresher.end()

    chosen: Any = refresher if blocking else refresh
    credential = Credential("acme", chosen, token={**expired(), "refresh_token": first_refresh_token})
    got: list[Token] = []

    async def first() -> None:
        cancel.task = trio.lowlevel.current_task()
        with cancel.scope:
            got.append(await credential.atoken())

    async def second() -> None:
        got.append(await credential.atoken())

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await until_entered(refresher)
            nursery.start_soon(second)
            await trio.testing.wait_all_tasks_blocked(0.001)
            refresher.leave.set()
        got.append(await credential.atoken())

    trio.run(run, instruments=[cancel])
    assert {token.generation for token in got} == {2}
    assert len(got) >= 2
    assert refresher.calls == 1


def test_those_who_are_cancelled_while_they_wait_leave_the_refresh_alone() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    got: list[Token] = []

    async def run() -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(ask)
            async with trio.open_nursery() as inner:
                for _ in range(5):
                    inner.start_soon(credential.atoken)
                await until_entered(refresher)
                await trio.testing.wait_all_tasks_blocked()
                inner.cancel_scope.cancel()
            refresher.leave.set()

    async def ask() -> None:
        got.append(await credential.atoken())

    trio.run(run)
    assert ([token.generation for token in got], refresher.calls) == ([2], 1)


def guest_of_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    """Run trio as a guest of asyncio's loop."""

    async def host() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            main, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        (await done).unwrap()

    asyncio.run(host())


def test_in_guest_mode_it_is_trio_that_waits() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    got: list[Token] = []

    async def ask() -> None:
        got.append(await credential.atoken())

    async def main() -> None:
        assert isinstance(running_loop(), trio.lowlevel.TrioToken)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
            await until_entered(refresher)
            refresher.leave.set()

    guest_of_asyncio(main)
    assert ([token.generation for token in got], refresher.calls) == ([2] * 10, 1)


def test_in_guest_mode_host_and_guest_wait_for_the_same_refresh() -> None:
    refresher = Refresher(gated=True)
    credential = Credential("acme", refresher, token=expired())
    got: list[Token] = []

    async def main() -> None:
        got.append(await credential.atoken())

    async def host() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            main, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        waiting = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        refresher.leave.set()
        got.append(await waiting)
        (await done).unwrap()

    asyncio.run(host())
    assert ([token.generation for token in got], refresher.calls) == ([2, 2], 1)


def test_a_flight_does_not_disturb_a_run_that_is_over() -> None:
    flight: Flight[str] = Flight()

    async def run() -> None:
        with trio.move_on_after(0.01):
            await flight.wait_async(PATIENCE)

    trio.run(run)
    assert flight.settle("done")
