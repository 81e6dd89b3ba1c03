"""Runs async user code on the event loop it belongs to, and finds out whether the code has begun there."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from concurrent import futures
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from onerefresh.pause import Pause
from onerefresh.renewal.world import Unsent
from onerefresh.running_loop import running_loop
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict
from onerefresh.workers import not_counted

if TYPE_CHECKING:
    import asyncio

__all__ = ["awaited", "holds_a_thread", "is_async"]

T = TypeVar("T")
SLICE = 0.25
"""Seconds between two checks of whether the loop is gone."""


def is_async(function: object) -> bool:
    """Whether a call of `function` runs nothing yet, and returns something to await."""
    calls = getattr(type(function), "__call__", None)  # noqa: B004 - how it is called, not whether it can be
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(calls)


def holds_a_thread(function: object, loop: object) -> bool:
    """Whether a call of `function` takes a thread of this library until it ends: all but a task on an asyncio loop."""
    return not is_async(function) or loop is None or _is_trio(loop)


def _is_trio(loop: object) -> bool:
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)  # None while another thread imports it
    return lowlevel is not None and isinstance(loop, lowlevel.TrioToken)


async def awaited(awaitable: Awaitable[T], loop: object, *, begins_late: bool) -> T:
    """Await what user code returned on `loop`: an asyncio loop, a trio token, or None for a new loop.

    `begins_late`: nothing of it has run before it is awaited. Raises `RefreshFailure` where the loop ends; `Unsent`
    where it ended before the code began.
    """
    code = _Code(awaitable, begins_late=begins_late)
    if loop is None:
        import asyncio

        if running_loop() is not None:  # the thread does this work in the pauses of that loop
            raise code.cannot_begin()
        return asyncio.run(code.run()).value
    if _is_trio(loop):
        result: T = _on_trio(code, loop)
        return result
    return await _on_loop(code, loop)  # type: ignore[arg-type]  # an asyncio loop is what remains


class _Returned(Generic[T]):
    """What user code returned, hidden from ``repr``, because a loop in debug mode logs the result of a slow task."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value


class _Code(Generic[T]):
    """A run of user code on a loop. It either begins there, or is called off before that."""

    def __init__(self, awaitable: Awaitable[T], *, begins_late: bool = False) -> None:
        self._awaitable = awaitable
        self._begins_late = begins_late
        self._decided: dict[str, str] = {}  # decided by whichever came first: it begins, or it is called off

    async def run(self) -> _Returned[T]:
        if self._decided.setdefault("by", "run") != "run":
            raise futures.CancelledError
        return _Returned(await self._awaitable)

    def gone(self) -> RefreshFailure:
        """The error for a loop that has ended. From now on the code does not begin any more."""
        if self._decided.setdefault("by", "gone") == "run":
            return RefreshFailure(_ended("the refresher's event loop ended while the refresher was running"))
        return self._not_begun("the refresher's event loop has ended")

    def cannot_begin(self) -> RefreshFailure:
        """The error for a loop that runs on this very thread, because no other thread could be started."""
        self._decided["by"] = "gone"
        return self._not_begun("no thread can be started, and an async function needs one")

    def _not_begun(self, message: str) -> RefreshFailure:
        if inspect.iscoroutine(self._awaitable):
            self._awaitable.close()
        if not self._begins_late:
            return RefreshFailure(_ended(message))  # the call that returned the awaitable may have sent
        return Unsent(Verdict(FailureKind.UNAVAILABLE, f"{message}; nothing was sent", repeatable=False))


async def _on_loop(code: _Code[T], loop: asyncio.AbstractEventLoop) -> T:
    """Run it on its loop, and watch the loop: one that stops or closes must not make callers hang."""
    import asyncio

    if loop.is_closed() or not loop.is_running():
        raise code.gone()
    if _runs_here(loop):
        raise code.cannot_begin()
    coroutine = code.run()
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:  # the loop was closed just now
        coroutine.close()
        raise code.gone() from None
    end = _End(future)
    while not future.done():
        await Pause(SLICE, begin=end.wakes)
        if (loop.is_closed() or not loop.is_running()) and not future.done():  # again: both may have ended together
            gone = code.gone()
            if not loop.is_closed():
                future.cancel()
            elif inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
            raise gone
    try:
        return future.result().value
    except futures.CancelledError:
        raise code.gone() from None


class _End:
    """Wakes the pause under way when the future is done."""

    def __init__(self, future: futures.Future[Any]) -> None:
        self._future, self._wake = future, _nothing
        future.add_done_callback(self._done)

    def wakes(self, wake: Callable[[], object]) -> None:
        """Wake by `wake` from now on."""
        self._wake = wake
        if self._future.done():
            wake()

    def _done(self, _: object) -> None:
        self._wake()


def _nothing() -> object:
    """No pause is under way."""
    return None


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    import asyncio

    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _on_trio(code: _Code[T], token: Any) -> T:
    import trio

    try:
        with not_counted():
            returned: _Returned[T] = trio.from_thread.run(code.run, trio_token=token)
    except (trio.RunFinishedError, trio.Cancelled):
        raise code.gone() from None
    return returned.value


def _ended(message: str) -> Verdict:
    return Verdict(FailureKind.NO_ANSWER, message, repeatable=False)
