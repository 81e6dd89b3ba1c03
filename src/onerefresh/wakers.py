"""Waking the tasks that wait on an event loop, of asyncio or trio, from any thread.

What a task waits for here comes from other threads, and so in real time. The clock of its loop may be another one: a
test has stopped it, or lets it jump over each wait in which no task runs. So this library's own timekeeper ends a wait,
unless the loop shows the real time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from onerefresh.real_time import monotonic
from onerefresh.running_loop import module_there
from onerefresh.timekeeper import Timer

if TYPE_CHECKING:
    import asyncio

    import trio

__all__ = ["CallWaker", "Waker", "waker_for"]

ALIKE = 1.0
"""Seconds by which the clock of a loop may differ from the real one: a busy loop reads its clock once in each turn."""


class Waker(Protocol):
    """Wakes all callers on one event loop, from any thread."""

    def wake(self) -> None: ...

    async def wait_async(self, seconds: float) -> None:
        """Return after `wake`, or after so many seconds."""


class _AsyncioWaker:
    """Wakes all callers of one loop by one callback. Each waits on a bare future, which is cheapest in asyncio."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: set[asyncio.Future[None]] = set()
        self._woken = False

    def wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            return  # the loop is closed: no caller waits there any more

    def _wake(self) -> None:
        self._woken = True
        for waiter in self._waiters:
            _wake_one(waiter)

    async def wait_async(self, seconds: float) -> None:
        if self._woken:
            return
        waiter = self._loop.create_future()
        timer = self._timer(seconds, waiter)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)

    def _timer(self, seconds: float, waiter: asyncio.Future[None]) -> Timer | asyncio.TimerHandle:
        """What wakes `waiter` when so many seconds are over."""
        if abs(self._loop.time() - monotonic()) > ALIKE:
            with contextlib.suppress(RuntimeError):  # there is no thread any more, since the interpreter ends
                return Timer(seconds, lambda: _in_its_loop(self._loop, waiter))
        return self._loop.call_later(seconds, _wake_one, waiter)


def _in_its_loop(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
        loop.call_soon_threadsafe(_wake_one, waiter)


def _wake_one(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class _TrioWaker:
    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        import trio

        self._token = token
        self._event = trio.Event()

    def wake(self) -> None:
        import trio

        try:
            self._token.run_sync_soon(self._event.set)
        except trio.RunFinishedError:
            return  # no caller waits there any more

    async def wait_async(self, seconds: float) -> None:
        import trio

        with trio.CancelScope() as scope:
            timer = self._timer(seconds, scope)
            try:
                await self._event.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def _timer(self, seconds: float, scope: trio.CancelScope) -> Timer | None:
        """What ends `scope` when so many seconds are over; None where the loop's own clock does."""
        import trio

        with contextlib.suppress(RuntimeError):  # as for asyncio
            return Timer(seconds, lambda: self._end(scope))
        scope.deadline = trio.current_time() + seconds
        return None

    def _end(self, scope: trio.CancelScope) -> None:
        import trio

        with contextlib.suppress(trio.RunFinishedError):  # nobody waits there any more
            self._token.run_sync_soon(scope.cancel)


class CallWaker:
    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def wake(self) -> None:
        self._call()

    async def wait_async(self, seconds: float) -> None:
        raise NotImplementedError  # it calls a function, and no task waits on it


def waker_for(loop: object) -> Waker:
    trio_ = module_there("trio", "lowlevel")
    if trio_ is not None and isinstance(loop, trio_.lowlevel.TrioToken):
        return _TrioWaker(loop)
    return _AsyncioWaker(loop)  # type: ignore[arg-type]  # what running_loop found is one of the two
