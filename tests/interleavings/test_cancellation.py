"""Cancellation of a task of asyncio at every await: whoever leaves, the refresh goes on and the others are answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest
from tests.core.calls import PATIENCE, Refresher, expired, first_token

from onerefresh import Credential, threads
from onerefresh.flight import Flight
from onerefresh.store import Versioned
from onerefresh.stores.memory import MemoryStore

MOST = 50


class CancelledAt:
    """Awaits `coroutine`, and is cancelled at the n-th step: while it sleeps there, or in the moment of waking up."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], steps: int, *, asleep: bool) -> None:
        self._coroutine = coroutine
        self._steps = steps
        self._asleep = asleep
        self.was_reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        thrown: BaseException | None = None
        try:
            for step in range(MOST):
                if step == self._steps and not self._asleep:
                    self.was_reached, thrown = True, asyncio.CancelledError()
                try:
                    awaited = self._coroutine.send(None) if thrown is None else self._coroutine.throw(thrown)
                except StopIteration as stop:
                    return stop.value
                if step == self._steps and self._asleep:
                    self.was_reached = True
                    task = asyncio.current_task()
                    assert task is not None
                    asyncio.get_running_loop().call_soon(task.cancel)
                try:
                    thrown = None
                    yield awaited
                except BaseException as error:  # noqa: BLE001 - whatever is thrown into the task is the coroutine's
                    thrown = error
            raise AssertionError("more steps than expected")
        finally:
            self._coroutine.close()


def at_every_step(run: Callable[[int], Awaitable[CancelledAt]]) -> int:
    """Run it for step 0, 1, 2 … until it is over before it is cancelled; how many steps there were."""
    for step in range(MOST):
        if not asyncio.run(_awaited(run(step))).was_reached:
            return step
    raise AssertionError("it is never over")


async def _awaited(awaitable: Awaitable[CancelledAt]) -> CancelledAt:
    return await awaitable


async def outcome(cancelled: CancelledAt) -> object:
    return await cancelled


@pytest.mark.parametrize("asleep", [True, False], ids=["asleep", "waking"])
@pytest.mark.parametrize("how", ["blocking", "async"])
def test_a_call_that_is_cancelled_at_any_step_harms_nobody(how: str, asleep: bool) -> None:
    async def run(step: int) -> CancelledAt:
        refresher = Refresher(gated=True)
        seed = {**expired(), "refresh_token": f"refresh of step {step}"}  # all objects of one session know its newest
        credential = Credential("acme", refresher if how == "blocking" else refresher.on_a_loop, token=seed)
        cancelled = CancelledAt(credential.atoken(), step, asleep=asleep)
        first = asyncio.create_task(outcome(cancelled))
        await asyncio.sleep(0)
        second = asyncio.create_task(credential.atoken())
        await asyncio.to_thread(refresher.wait_until_entered)
        refresher.leave.set()
        [found] = await asyncio.gather(first, return_exceptions=True)
        assert isinstance(found, asyncio.CancelledError) == cancelled.was_reached
        assert (await second).generation == 2
        assert (await credential.atoken()).generation == 2
        assert refresher.calls == 1
        return cancelled

    assert at_every_step(run) > 0


class SlowStore(MemoryStore):
    """Answers nobody until its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def load(self, key: str) -> Versioned | None:
        self.entered.set()
        assert self.open.wait(PATIENCE)
        return super().load(key)


def until_no_thread_of_ours_is_left(earlier: set[threads.Job]) -> None:
    for job in set(threads._jobs) - earlier:
        if job.name == "onerefresh watch":
            continue  # it stays for as long as the store
        assert job.over.wait(PATIENCE), job.name


@pytest.mark.parametrize("asleep", [True, False], ids=["asleep", "waking"])
@pytest.mark.parametrize("what", ["alogin", "alogout", "astatus"])
def test_a_persons_command_that_is_cancelled_at_any_step_is_carried_out_and_harms_nobody(
    what: str, asleep: bool
) -> None:
    async def run(step: int) -> CancelledAt:
        earlier = set(threads._jobs)
        store = SlowStore()
        credential = Credential("acme", Refresher(), token=first_token(), store=store)
        commands: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "alogin": lambda: credential.alogin(first_token(refresh_token="refresh-new")),
            "alogout": credential.alogout,
            "astatus": credential.astatus,
        }
        store.entered.clear()
        store.open.clear()
        cancelled = CancelledAt(commands[what](), step, asleep=asleep)
        command = asyncio.create_task(outcome(cancelled))
        await asyncio.sleep(0)
        started = asleep or step > 0
        if started:
            await asyncio.to_thread(store.entered.wait, PATIENCE)
        store.open.set()
        [found] = await asyncio.gather(command, return_exceptions=True)
        assert isinstance(found, asyncio.CancelledError) == cancelled.was_reached
        await asyncio.to_thread(until_no_thread_of_ours_is_left, earlier)
        done = {"alogin": ("idle", 2), "alogout": ("empty", 2), "astatus": ("idle", 1)}[what]
        status = await credential.astatus()
        assert (status.state, status.generation) == (done if started else ("idle", 1))
        return cancelled

    assert at_every_step(run) > 0


@pytest.mark.parametrize("asleep", [True, False], ids=["asleep", "waking"])
def test_waiting_that_is_cancelled_at_any_step_leaves_nothing_behind(asleep: bool) -> None:
    async def run(step: int) -> CancelledAt:
        flight: Flight[str] = Flight()
        cancelled = CancelledAt(flight.wait_async(PATIENCE), step, asleep=asleep)
        first, second = asyncio.create_task(outcome(cancelled)), asyncio.create_task(flight.wait_async(PATIENCE))
        await asyncio.sleep(0)
        await asyncio.to_thread(flight.settle, "done")
        assert await second
        [found] = await asyncio.gather(first, return_exceptions=True)
        assert isinstance(found, asyncio.CancelledError) == cancelled.was_reached
        assert flight.result() == "done"
        return cancelled

    assert at_every_step(run) > 0
