"""Spreads the work of many tasks that begin at once over many turns of their event loop.

To start a renewal takes a fraction of a millisecond, and may start a thread, which competes with the loop. A loop that
starts thousands in one turn would do nothing else meanwhile.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, cast

from onerefresh.running_loop import module_there, running_loop

if TYPE_CHECKING:
    import asyncio

__all__ = ["paced"]

AT_ONCE = 16
"""Tasks that go on in one turn of their loop, of those that wait."""
AT_LATEST = 1.0
"""Seconds without a turn after which the turns begin anew."""


def paced() -> asyncio.Future[None] | None:
    """What the present task awaits before it goes on; None where it may go on at once.

    The first task in a turn of the event loop goes on at once, the others in later turns. For asyncio only.
    """
    found, trio = running_loop(), module_there("trio", "lowlevel")
    if found is None or (trio is not None and isinstance(found, trio.lowlevel.TrioToken)):
        return None
    loop = cast("asyncio.AbstractEventLoop", found)
    pacer = _pacers.get(loop)
    if pacer is not None:
        return pacer.place()
    for other in list(_pacers):  # other threads may do the same
        if other.is_closed():
            _pacers.pop(other, None)
    _pacers[loop] = _Pacer(loop)
    return None


class _Pacer:
    """The tasks of one loop. It exists while some wait, and until a turn in which none goes on.

    A signal handler may interrupt any step by an exception. So a task leaves the queue only after it was woken, and a
    timer sees to it that the turns go on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._goes_on = True  # a task goes on in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._next = loop.call_soon(self._turn)

    def place(self) -> asyncio.Future[None] | None:
        """What a task awaits; None where it may go on in this turn."""
        if not self._goes_on and not self._waiting:
            self._goes_on = True
            return None
        if self._timer is None:
            self._timer = self._loop.call_later(AT_LATEST, self._watch, self._turns)
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        return waiter

    def _turn(self) -> None:
        self._next = self._loop.call_soon(self._turn)  # first of all: what follows may be interrupted
        self._turns += 1
        if not self._waiting and not self._goes_on:
            self._end()
            return
        woken = 0
        while self._waiting and woken < AT_ONCE:
            waiter = self._waiting[0]
            if not waiter.done():  # else its task was cancelled
                waiter.set_result(None)
                woken += 1
            self._waiting.popleft()
        self._goes_on = woken > 0

    def _watch(self, turns: int) -> None:
        self._timer = self._loop.call_later(AT_LATEST, self._watch, self._turns)
        if self._turns == turns:  # an interrupt came before the next turn was planned
            self._next.cancel()
            self._turn()

    def _end(self) -> None:
        self._next.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if _pacers.get(self._loop) is self:
            del _pacers[self._loop]


_pacers: dict[asyncio.AbstractEventLoop, _Pacer] = {}
