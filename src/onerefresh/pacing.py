"""Spreads the work of many tasks that begin at once over many turns of their event loop.

To start a renewal takes a fraction of a millisecond. A loop that starts thousands in one turn would do nothing else
meanwhile.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from onerefresh.running_loop import module_there, running_loop

if TYPE_CHECKING:
    import asyncio

__all__ = ["paced"]

AT_ONCE = 16
"""Tasks that go on in one turn of their loop."""
AT_LATEST = 1.0
"""Seconds after which a task goes on in any case."""


async def paced() -> None:
    """Return in this turn of the event loop, or in a later one where many tasks call this at once. For asyncio only."""
    found, trio = running_loop(), module_there("trio", "lowlevel")
    if found is None or (trio is not None and isinstance(found, trio.lowlevel.TrioToken)):
        return
    loop = cast("asyncio.AbstractEventLoop", found)
    pacer = _pacers.get(loop)
    if pacer is None:
        for other in list(_pacers):  # other threads may do the same
            if other.is_closed():
                _pacers.pop(other, None)
        pacer = _pacers[loop] = _Pacer(loop)
    await pacer.turn()


class _Pacer:
    """The tasks of one loop. It exists while some wait, and until the end of the turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._gone_on = 0  # in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        loop.call_soon(self._next_turn)

    async def turn(self) -> None:
        if self._gone_on < AT_ONCE and not self._waiting:
            self._gone_on += 1
            return
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        timer = self._loop.call_later(AT_LATEST, self._go_on_late, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    def _next_turn(self) -> None:
        if not self._waiting and not self._gone_on:
            if _pacers.get(self._loop) is self:
                del _pacers[self._loop]
            return
        self._loop.call_soon(self._next_turn)
        self._gone_on = 0
        while self._waiting and self._gone_on < AT_ONCE:
            waiter = self._waiting.popleft()
            if not waiter.done():  # else its task was cancelled
                waiter.set_result(None)
                self._gone_on += 1

    def _go_on_late(self, waiter: asyncio.Future[None]) -> None:
        """Let one go on without its turn. An interrupt may have cut `_next_turn` short: then no turn comes any more."""
        if _pacers.get(self._loop) is self:
            del _pacers[self._loop]  # those that come later have another one
        if not waiter.done():
            waiter.set_result(None)


_pacers: dict[asyncio.AbstractEventLoop, _Pacer] = {}
