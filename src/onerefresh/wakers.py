"""Waking the tasks that wait on an event loop, of asyncio or trio, from any thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from onerefresh.running_loop import module_there

if TYPE_CHECKING:
    import asyncio

    import trio

__all__ = ["CallWaker", "Waker", "waker_for"]


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
        timer = self._loop.call_later(seconds, _wake_one, waiter)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)


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

        with trio.move_on_after(seconds):
            await self._event.wait()


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
