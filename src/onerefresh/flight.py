"""Waiting for the one renewal under way: on threads, on any number of event loops, and on trio.

Callers wait on the flight and not on the work, so a caller that leaves does no harm. There is one wake-up for each
event loop and one latch for all threads: ten thousand callers cost about as much as one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from onerefresh.damping import RefusedAt
from onerefresh.errors import OnerefreshError
from onerefresh.latches import Latch
from onerefresh.locks import reentered
from onerefresh.real_time import monotonic
from onerefresh.running_loop import running_loop
from onerefresh.tasks import refuse_between_steps
from onerefresh.wakers import CallWaker, Waker, waker_for
from onerefresh.workers import not_counted

__all__ = ["NO_GROUP", "Flight"]

T = TypeVar("T")
NO_GROUP = object()
"""The group of a flight that no credential has launched yet."""
BEGUN = 1.0
"""Seconds after which a renewal that has not begun is started again."""
TURN = 0.25
"""Seconds between two looks for work that nobody else does, by a thread of the workers that waits."""
SOON = 5.0
"""Seconds within which a caller that was given a flight begins to wait for it, on a machine however busy."""


class OnThread(Protocol):
    """Something that runs on a thread, or pauses. `thread`: the identity of that thread, or None."""

    @property
    def thread(self) -> int | None: ...


class _ThisThread:
    """The thread that makes it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


class Flight(Generic[T]):
    """One result, settled once, for any number of callers of any kind.

    It has no lock: each of its steps is one call in C.

    * `refused`: the identity of the token whose refusal started it; `refused_at`: where it was refused, if known.
    * `loop`: the event loop that the refresher needs, if any.
    * `phase`: how far the renewal is, in words.
    * `group`: that of the credential which has launched it (see `CredentialOptions`), or `NO_GROUP`.
    * `lost_its_loop`: the refresher's loop ended before anything was sent.
    * `considers`: the family of the first token that its renewal compares with the session, or a mark for one that is
      still to be looked up; empty where there is none.
    * `looks_up`: its renewal looks this first token up, or has failed to.
    * `is_apart`: it is beside the flight of the other callers, to compare a ``token=`` with what is in the store.
    """

    def __init__(
        self,
        *,
        refused: tuple[str, int] | None = None,
        refused_at: RefusedAt | None = None,
        loop: object = None,
    ) -> None:
        self.refused = refused
        self.refused_at = refused_at
        self.loop = loop
        self.phase = "it has not started yet"
        self.group: object = NO_GROUP
        self.lost_its_loop = False
        self.considers, self.is_apart, self.looks_up = "", False, False
        self._starter: int | None = threading.get_ident()
        self._begun: dict[str, OnThread] = {}  # what runs it
        self._first: dict[str, object] = {}  # the first to do what only one of them does
        self._made_at = monotonic()
        self._settled = Latch()
        self._wakers: dict[object, Waker] = {}
        self._waiting: dict[object, None] = {}
        self._expected_until = 0.0  # on the monotonic clock
        self._result: T | None = None
        self._error: OnerefreshError | None = None

    @property
    def settled(self) -> bool:
        """Whether there is a result or an error."""
        return self._settled.is_set

    @property
    def says_little(self) -> bool:
        """Whether its error says nothing about the session: others must not be refused because of it."""
        return self.lost_its_loop or self.is_apart or self.looks_up

    @property
    def is_mine_to_start(self) -> bool:
        """Whether a frame below on this very thread was about to start it, and was interrupted."""
        return self._starter == threading.get_ident()

    def started(self) -> None:
        """Note that this thread does not have to start it any more."""
        self._starter = None

    def give_up(self, error: OnerefreshError) -> None:
        """Settle it with an error where this thread was to start it, and an interrupt prevented that."""
        if self.is_mine_to_start and not self.settled and self.begin():
            self.settle(None, error)

    def begin(self, by: OnThread | None = None) -> bool:
        """Whether the renewal begins with this call, run by `by` or here. Only the first caller may run it."""
        by = _ThisThread() if by is None else by
        return self._begun.setdefault("by", by) is by

    def begins_with(self, other: Flight[Any]) -> None:
        """Note that what runs the other one runs this one, too."""
        self._begun.update(other._begun)
        self.group = other.group

    def settle(self, result: T | None, error: OnerefreshError | None = None) -> bool:
        """Wake all callers with a result or an error; whether this call was the first. Later ones change nothing."""
        me = threading.get_ident()
        first = not self.settled and self._first.setdefault("settle", me) == me
        if first:
            self._result, self._error = result, error
        if not first and not self.settled:
            return False  # another thread is settling it: a caller woken before that would find it unsettled
        self._settled.set()  # also where it is set: an interrupt may have cut the first call short
        while self._wakers:
            try:
                _, waker = self._wakers.popitem()
            except KeyError:  # another thread took the last one
                break
            waker.wake()
        return first

    def brought(self, result: object) -> bool:
        """Whether it was settled with this very result."""
        return self.settled and self._result is result

    @property
    def has_waiters(self) -> bool:
        """Whether a caller waits or is about to, which delays the interpreter's end: daemon threads do not count."""
        return bool(self._waiting) or monotonic() < self._expected_until

    def expect(self) -> None:
        """Note that this thread is about to wait: the renewal must not end before its caller has begun to wait."""
        if not threading.current_thread().daemon:
            self._expected_until = monotonic() + SOON

    def when_settled(self, call: Callable[[], object]) -> None:
        """Call `call` once it is settled: on the thread that settles it, or at once. It may neither block nor raise."""
        self._wakers[call] = CallWaker(call)
        if self.settled and self._wakers.pop(call, None) is not None:
            call()

    def wait(self, seconds: float, start: Callable[[], object] | None = None) -> bool:
        """Block this thread until it is settled; whether that was within so many seconds.

        `start` starts the renewal again if it has not begun: a destructor may run on the thread that is about to start
        it, and wait for it; and Ctrl-C, pressed twice, may keep that thread from starting it. Raises `Reentered` where
        the wait would never end, because something that it needs is below on this thread's stack.
        """
        if self.settled:
            return True
        me, place = threading.get_ident(), object()
        before, deadline = _waits_for.get(me), monotonic() + seconds
        # Each clean-up is the first step of its block, so that an interrupt in one leaves the other to be done.
        try:
            try:
                _waits_for[me] = self
                refuse_between_steps()
                self._refuse_a_circle(me)  # not before: another thread may close the circle at the same time
                if not threading.current_thread().daemon:
                    self._waiting[place] = None
                self._expected_until = 0.0
                with not_counted(helps=True) as help_out:
                    again_at = monotonic() + BEGUN
                    while True:
                        left = deadline - monotonic()
                        may_start = start is not None and not self._begun
                        if left <= 0.0 or not (may_start or help_out is not None):
                            break
                        if self._settled.wait(min(left, BEGUN if help_out is None else TURN)):
                            return True
                        if help_out is not None:
                            help_out()
                        if start is not None and monotonic() >= again_at:
                            again_at += BEGUN
                            self._start_again(start)
                    return self._settled.wait(deadline - monotonic())
            finally:
                self._waiting.pop(place, None)
        finally:
            if before is None:
                _waits_for.pop(me, None)
            else:
                _waits_for[me] = before

    async def wait_async(self, seconds: float, start: Callable[[], object] | None = None) -> bool:
        """Wait in this task until it is settled; whether that was within so many seconds. May be cancelled.

        `start`: as for `wait`.
        """
        if self.settled:
            return True
        loop, place = running_loop(), object()
        deadline = monotonic() + seconds
        waker = self._wakers.get(loop) or self._wakers.setdefault(loop, waker_for(loop))
        if self.settled:  # checked again: `settle` wakes only those wakers that are there by then
            return True
        try:
            if not threading.current_thread().daemon:
                self._waiting[place] = None
            self._expected_until = 0.0
            # Perhaps a refresher's own loop awaits another credential here, and no thread is left for that one.
            with not_counted(helps=True) as help_out:
                again_at = monotonic() + BEGUN
                # One task is enough to start it again. There may be thousands; the others sleep until they are woken.
                while True:
                    left = deadline - monotonic()
                    may_be_first = start is not None and not self._begun
                    is_first = may_be_first and self._first.setdefault("watches", place) is place
                    if left <= 0.0 or not (is_first or help_out is not None):
                        break
                    await waker.wait_async(min(left, BEGUN if help_out is None else TURN))
                    if self.settled:
                        return True
                    if help_out is not None:
                        help_out()
                    if is_first and start is not None and monotonic() >= again_at:
                        again_at += BEGUN
                        self._start_again(start)
                await waker.wait_async(max(deadline - monotonic(), 0.0))
        finally:
            self._waiting.pop(place, None)
            if self._first.get("watches") is place:
                self._first.pop("watches", None)
        return self.settled

    def _start_again(self, start: Callable[[], object]) -> None:
        """Start a renewal that has not begun: its starter was interrupted, or is held up by a caller that waits.

        One of the callers does it, after one second, two, four and so on, since the machine may merely be busy.
        """
        me, time_ = object(), f"start {int((monotonic() - self._made_at) / BEGUN).bit_length()}"
        if not self._begun and self._first.setdefault(time_, me) is me:
            start()

    @property
    def error(self) -> OnerefreshError | None:
        """The error with which it was settled, if it was."""
        return self._error

    def result(self) -> T:
        """The result, or the error: each caller is raised an error of its own, from the shared one."""
        if self._error is not None:
            raise self._error.fresh() from self._error
        return self._result  # type: ignore[return-value]  # settled without an error: it is the result

    def _refuse_a_circle(self, me: int) -> None:
        """Raise `Reentered` where the thread that is to settle it waits, directly or not, for this thread."""
        flight: Flight[Any] | None = self
        for _ in range(len(_waits_for) + 1):
            if flight is None or flight.settled or not flight._begun:
                return
            by = flight._begun["by"].thread
            if by == me:
                raise reentered()
            flight = None if by is None else _waits_for.get(by)


_waits_for: dict[int, Flight[Any]] = {}
"""The flight for which each thread waits."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waits_for.clear)
