"""A limit on the renewals that run at the same time at each token endpoint's host.

A slow or blocked host would otherwise take the threads of all other hosts' renewals. Slots are granted in the order in
which they were asked for. Some tenants of a host may hang while it answers others: so a slot that is held for several
times as long as is usual there no longer counts, and the next tenant gets one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

from onerefresh.latches import Changes
from onerefresh.locks import Lock
from onerefresh.store import reset_in_child

__all__ = ["HostLimiter", "Slot"]

SLOW = 4.0
"""A renewal is slow once it takes so many times as long as is usual at its host."""
SLOW_AT_LEAST, SLOW_AT_FIRST = 0.2, 2.0
"""Seconds after which a renewal is slow: at least, and where nothing is known of its host."""
MOST_SLOW = 3
"""So many times the limit are slow renewals at most, beside the others."""
LOOK = 1.0
"""Seconds after which any that waits looks whether there is room, where the first one is held up by other work.

There may be thousands of them: if each looked, that would keep the processor busy.
"""
SHARE = 0.2
"""The weight of the last renewal in what is usual at its host."""


class HostLimiter:
    """Grants at most `limit` slots at each host at the same time, beside those of slow renewals.

    `_lock` guards the queues of all hosts.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = Lock()
        self._queues: dict[str, _HostQueue] = {}
        self._usual: dict[str, float] = {}  # seconds, of hosts where nobody is just now
        reset_in_child(self)

    def queue(self, host: str, limit: int | None = None) -> Slot:
        """A slot at `host`, which is granted at once where there is room, and in its turn otherwise.

        `limit`: the host's own; None: that of all hosts.
        """
        with self._lock:
            queue = self._queues.get(host)
            if queue is None:
                queue = self._queues[host] = _HostQueue(self._usual.pop(host, None))
            queue.limit = self.limit if limit is None else limit
            slot = Slot(self, host, queue)
            queue.waiting[slot] = None
            queue.grant(self._clock())
            slot.behind = len(queue.held) + len(queue.waiting) - 1
        return slot

    def _leave(self, slot: Slot, *, answered: bool) -> None:
        queue = slot._queue
        with self._lock:
            now = self._clock()
            since = queue.held.pop(slot, None)
            queue.waiting.pop(slot, None)
            if since is not None and answered:
                queue.took(now - since)
            queue.grant(now)
            if not queue.held and not queue.waiting and self._queues.get(slot._host) is queue:
                del self._queues[slot._host]
                if queue.usual is not None:
                    self._usual[slot._host] = queue.usual

    def _grant(self, slot: Slot) -> float:
        """Grant what can be granted by now; the seconds until that may be worth another try for this slot."""
        with self._lock:
            now = self._clock()
            slot._queue.grant(now)
            return slot._queue.next_in(slot, now)

    def after_fork(self) -> None:
        """The threads that held slots do not exist in the child."""
        self._lock = Lock()
        self._queues = {}


class _HostQueue:
    """The slots of one host: which are held, since when, and which wait. The limiter's lock is held for each call."""

    def __init__(self, usual: float | None) -> None:
        self.limit = 0
        self.held: dict[Slot, float] = {}
        self.waiting: dict[Slot, None] = {}
        self.first: Slot | None = None  # of those that wait; read without the lock, too
        self.looked_at = -math.inf  # when slots were granted last, as far as there was room
        self.usual = usual  # seconds that a renewal takes

    def took(self, seconds: float) -> None:
        """Take in how long a renewal took that was answered. The few that take long do not make that usual."""
        seconds = min(seconds, self.slow_after)
        self.usual = seconds if self.usual is None else (1.0 - SHARE) * self.usual + SHARE * seconds

    @property
    def slow_after(self) -> float:
        """Seconds after which a renewal is slow."""
        return SLOW_AT_FIRST if self.usual is None else max(SLOW * self.usual, SLOW_AT_LEAST)

    def grant(self, now: float) -> None:
        """Grant slots to those that wait, as far as there is room."""
        self.looked_at = now
        slow_since = now - self.slow_after
        active = sum(since > slow_since for since in self.held.values())
        while self.waiting and active < self.limit and len(self.held) < self.limit * (1 + MOST_SLOW):
            first = next(iter(self.waiting))
            del self.waiting[first]
            self.held[first] = now
            active += 1
            first._granted = True
            first._changes.notify()
        self.first = next(iter(self.waiting), None)
        if self.first is not None:
            self.first._changes.notify()  # it may be the first only now

    def next_in(self, slot: Slot, now: float) -> float:
        """Seconds until the next held slot becomes slow, for the first that waits; infinity for the others."""
        if self.first is not slot or len(self.held) >= self.limit * (1 + MOST_SLOW):
            return math.inf
        waits = [since + self.slow_after - now for since in self.held.values()]
        return min((seconds for seconds in waits if seconds > 0.0), default=math.inf)


class Slot:
    """One renewal's slot at one host: granted, or waiting in the host's queue.

    `behind`: how many others had a slot, or waited for one, when it began to wait.
    """

    def __init__(self, limiter: HostLimiter, host: str, queue: _HostQueue) -> None:
        self._limiter, self._host, self._queue = limiter, host, queue
        self._changes, self._granted, self.behind = Changes(), False, 0

    def wait(self, seconds: float) -> bool:
        """Wait until the slot is granted, at most `seconds`; whether it is granted."""
        deadline = time.monotonic() + seconds
        while not self._granted and (left := deadline - time.monotonic()) > 0.0:
            was_first = self._queue.first is self
            if was_first or self._limiter._clock() >= self._queue.looked_at + LOOK:
                left = min(self._limiter._grant(self), left)
            self._changes.wait_for(partial(self._may_go_on, was_first), left)
        return self._granted

    def _may_go_on(self, was_first: bool) -> bool:
        return self._granted or (not was_first and self._queue.first is self)

    def leave(self, *, answered: bool = False) -> None:
        """Give the slot back, or stop waiting for it. `answered`: the host has answered the renewal."""
        self._limiter._leave(self, answered=answered)
