"""A limit on the renewals that run at the same time at each token endpoint's host.

A slow or blocked host would otherwise take the threads of all other hosts' renewals. Slots are granted in the order in
which they were asked for. Some tenants of a host may hang while it answers others: so a slot that is held for several
times as long as is usual there no longer counts, and the next tenant gets one. A tenant that hung last time gets its
slot after the other tenants, or after `PASSED` of them. It gets none of the last `limit` slots, so that other tenants
can still be served while many hang.

Several hosts may hang at the same time, and all limiters of a process share its threads. So only `MOST_BEYOND` slots
are beyond the limits of all hosts together. The hosts that need some share them equally.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TypeVar

from onerefresh.locks import Lock
from onerefresh.pause import Pause
from onerefresh.real_time import monotonic
from onerefresh.store import reset_in_child
from onerefresh.timekeeper import Timer

__all__ = ["HostLimiter", "Slot"]

K = TypeVar("K")
V = TypeVar("V")
SLOW = 4.0
"""A renewal is slow once it takes so many times as long as is usual at its host."""
SLOW_AT_LEAST, SLOW_AT_FIRST = 0.03, 2.0
"""Seconds after which a renewal is slow: at least, and where nothing is known of its host."""
MOST_SLOW = 3
"""Slow renewals at most, as a multiple of the limit, besides the others."""
MOST_BEYOND = 64
"""Slots beyond the limits of their hosts at most, in all limiters of this process together."""
LOOK_FOR_ROOM = 0.1
"""Seconds between two looks at whether another host has given back a slot beyond its limit."""
PASSED = 3
"""Other tenants that get a slot before a tenant that hung last time, even if they came later."""
MOST_KNOWN = 10_000
"""Tenants that hung last time, and hosts where nobody is just now, at most, which a limiter remembers."""
LOOK_AGAIN = 30.0
"""Seconds between two looks at whether a slot is granted: an interrupt may have cost its owner the news."""
SHARE = 0.2
"""The weight of the last renewal in what is usual at its host."""
_beyond: dict[_HostQueue, int] = {}
"""How many slots beyond its limit each host has, of all limiters. No lock is needed: each step is one call in C."""


class HostLimiter:
    """Grants at most `limit` slots at each host at the same time, beside those of slow renewals.

    Slots are granted when one is left, and when a held one becomes slow. `_lock` guards the queues of all hosts.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = Lock()
        self._queues: dict[str, _HostQueue] = {}
        self._usual: dict[str, float] = {}  # seconds, of hosts where nobody is just now
        self._hung: dict[tuple[str, str], None] = {}  # by host and tenant: the tenants that hung there last time
        reset_in_child(self)

    def queue(self, host: str, limit: int | None = None, tenant: str = "") -> Slot:
        """A slot of `tenant` at `host`, which is granted at once where there is room, and in its turn otherwise.

        `limit`: the host's own; None: that of all hosts.
        """
        with self._lock:
            queue = self._queues.get(host)
            if queue is None:
                queue = self._queues[host] = _HostQueue(self._usual.pop(host, None))
            queue.limit = self.limit if limit is None else limit
            slot = Slot(self, host, queue, tenant)
            (queue.doubtful if (host, tenant) in self._hung else queue.waiting)[slot] = None
            granted = queue.grant(self._clock())
            slot.behind = len(queue.held) + len(queue.waiting) + len(queue.doubtful) - 1
        self._after(queue, granted, host)
        return slot

    def look(self, host: str) -> None:
        """Grant what can be granted at `host` by now."""
        with self._lock:
            queue = self._queues.get(host)
            if queue is None:
                return
            queue.timer = None
            granted = queue.grant(self._clock())
        self._after(queue, granted, host)

    def _leave(self, slot: Slot, *, answered: bool) -> None:
        queue = slot._queue
        with self._lock:
            now = self._clock()
            since = queue.held.pop(slot, None)
            queue.waiting.pop(slot, None)
            queue.doubtful.pop(slot, None)
            queue.note_beyond()
            if since is not None:
                self._remember(slot, now - since, answered=answered)
            granted = queue.grant(now)
            if not queue.held and not queue.waits and self._queues.get(slot._host) is queue:
                del self._queues[slot._host]
                if queue.usual is not None:
                    self._usual[slot._host] = queue.usual
                    _drop_oldest(self._usual)
        self._after(queue, granted, slot._host)

    def _remember(self, slot: Slot, seconds: float, *, answered: bool) -> None:
        """Take in how long a slot was held. The caller holds the lock."""
        place = slot._host, slot._tenant
        if answered:
            self._hung.pop(place, None)
            slot._queue.took(seconds)
        elif slot._tenant and seconds > slot._queue.slow_after:
            self._hung[place] = None
            _drop_oldest(self._hung)

    def _after(self, queue: _HostQueue, granted: list[Slot], host: str) -> None:
        """Wake the renewals that have been granted a slot; set a timer if a slot becomes free by time alone."""
        for slot in granted:
            slot._wake()
        with self._lock:
            seconds = queue.next_in(self._clock())
            timer, queue.timer = queue.timer, None
            if seconds is not None:
                with contextlib.suppress(RuntimeError):  # no thread to spare: one who leaves grants them
                    queue.timer = Timer(seconds, functools.partial(self.look, host))
        if timer is not None:
            timer.cancel()

    def after_fork(self) -> None:
        """The renewals that held slots do not exist in the child."""
        self._lock = Lock()
        self._queues = {}
        _beyond.clear()


def _drop_oldest(known: dict[K, V]) -> None:
    """Keep what is known of `MOST_KNOWN` at most."""
    if len(known) > MOST_KNOWN:
        del known[next(iter(known))]


class _HostQueue:
    """The slots of one host: which are held, since when, and which wait. The limiter's lock is held for each call."""

    def __init__(self, usual: float | None) -> None:
        self.limit = 0
        self.held: dict[Slot, float] = {}
        self.waiting: dict[Slot, None] = {}
        self.doubtful: dict[Slot, None] = {}  # they wait, too, and their tenants are known to have hung
        self.passed = 0  # how many got a slot since the last doubtful one
        self.timer: Timer | None = None  # for the next look
        self.usual = usual  # seconds that a renewal takes

    def took(self, seconds: float) -> None:
        """Take in how long a renewal took that was answered. The few that take long do not make that usual."""
        seconds = min(seconds, self.slow_after)
        self.usual = seconds if self.usual is None else (1.0 - SHARE) * self.usual + SHARE * seconds

    @property
    def slow_after(self) -> float:
        """Seconds after which a renewal is slow."""
        return SLOW_AT_FIRST if self.usual is None else max(SLOW * self.usual, SLOW_AT_LEAST)

    def grant(self, now: float) -> list[Slot]:
        """Grant slots to those that wait, as far as there is room; return them."""
        slow_since, granted = now - self.slow_after, list[Slot]()
        active = sum(since > slow_since for since in self.held.values())
        while active < self.limit and (first := self._take()) is not None:
            self.held[first] = now
            self.note_beyond()
            active += 1
            first.is_granted = True
            granted.append(first)
        return granted

    def _take(self) -> Slot | None:
        """The next one to get a slot, taken from those that wait; None where there is no room for it."""
        if not self._has_room():
            return None
        may_be_doubtful = self.doubtful and len(self.held) < self.most - self.limit
        if self.waiting and (self.passed < PASSED or not may_be_doubtful):
            if len(self.held) >= self.most:
                return None
            found = self.waiting
            self.passed += 1
        elif may_be_doubtful:
            found, self.passed = self.doubtful, 0
        else:
            return None
        first = next(iter(found))
        del found[first]
        return first

    def note_beyond(self) -> None:
        """Let the other hosts know how many slots are held beyond the limit of this one."""
        beyond = len(self.held) - self.limit
        if beyond > 0:
            _beyond[self] = beyond
        else:
            _beyond.pop(self, None)

    def _has_room(self) -> bool:
        """Whether one more slot is within the limit, or within this host's share of those beyond the limits."""
        if len(self.held) < self.limit:
            return True
        others = [beyond for queue, beyond in list(_beyond.items()) if queue is not self]
        mine = len(self.held) - self.limit
        return mine < MOST_BEYOND // (len(others) + 1) and mine + sum(others) < MOST_BEYOND

    @property
    def waits(self) -> bool:
        """Whether somebody waits."""
        return bool(self.waiting or self.doubtful)

    @property
    def most(self) -> int:
        """How many slots there are, with those of slow renewals."""
        return self.limit * (1 + MOST_SLOW)

    def next_in(self, now: float) -> float | None:
        """Seconds until one that waits can be granted a slot, because a held one becomes slow or has become so."""
        held = len(self.held)
        if not (self.waiting and held < self.most) and not (self.doubtful and held < self.most - self.limit):
            return None
        slow_since = now - self.slow_after
        active = [since for since in self.held.values() if since > slow_since]
        if len(active) < self.limit:  # one has become slow since the last look
            return 0.0 if self._has_room() else LOOK_FOR_ROOM
        return max(min(active) - slow_since, 0.0) if active else None


class Slot:
    """One renewal's slot at one host: granted, or waiting in the host's queue.

    `behind`: how many others had a slot, or waited for one, when it began to wait.
    """

    def __init__(self, limiter: HostLimiter, host: str, queue: _HostQueue, tenant: str) -> None:
        self._limiter, self._host, self._queue, self._tenant = limiter, host, queue, tenant
        self._wake: Callable[[], object] = _nothing
        self.is_granted, self.behind = False, 0

    def wakes(self, wake: Callable[[], object]) -> None:
        """Call `wake` once the slot is granted, perhaps at once."""
        self._wake = wake
        if self.is_granted:
            wake()

    async def comes(self, check: Callable[[], object] | None = None) -> None:
        """Wait until it is granted. `check`: as for `Pause`."""
        while not self.is_granted:
            await Pause(LOOK_AGAIN, check, self.wakes)
            self._limiter.look(self._host)

    def leave(self, *, answered: bool = False) -> None:
        """Give the slot back, or stop waiting for it. `answered`: the host has answered the renewal."""
        self._limiter._leave(self, answered=answered)


def _nothing() -> None:
    """Nobody waits."""
