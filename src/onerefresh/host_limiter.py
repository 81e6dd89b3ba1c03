"""A limit on the renewals that run at the same time at each token endpoint's host.

A slow or blocked host would otherwise take the threads of all other hosts' renewals. Slots are granted in the order in
which they were asked for.
"""

from __future__ import annotations

from collections import deque

from onerefresh.latches import Latch
from onerefresh.locks import Lock
from onerefresh.store import reset_in_child

__all__ = ["HostLimiter", "Slot"]


class HostLimiter:
    """Grants at most `limit` slots at each host at the same time. `_lock` guards the queues of all hosts."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = Lock()
        self._queues: dict[str, _HostQueue] = {}
        reset_in_child(self)

    def queue(self, host: str, limit: int | None = None) -> Slot:
        """A slot at `host`, which is granted at once if fewer than `limit` others are.

        `limit`: the host's own; None: that of all hosts.
        """
        with self._lock:
            queue = self._queues.setdefault(host, _HostQueue())
            queue.limit = self.limit if limit is None else limit
            slot = Slot(self, host, queue)
            if queue.busy < queue.limit:
                queue.busy += 1
                slot._granted.set()
            else:
                queue.waiting.append(slot)
        return slot

    def _leave(self, slot: Slot) -> None:
        queue = slot._queue
        with self._lock:
            if slot._granted.is_set:
                queue.busy -= 1
                while queue.waiting and queue.busy < queue.limit:
                    queue.busy += 1
                    queue.waiting.popleft()._granted.set()
            else:
                queue.waiting.remove(slot)
            if not queue.busy and self._queues.get(slot._host) is queue:
                del self._queues[slot._host]

    def after_fork(self) -> None:
        """The threads that held slots do not exist in the child."""
        self._lock = Lock()
        self._queues = {}


class _HostQueue:
    """The slots of one host: how many are granted, and which wait to be granted."""

    def __init__(self) -> None:
        self.busy = self.limit = 0
        self.waiting: deque[Slot] = deque()


class Slot:
    """One renewal's slot at one host: granted, or waiting in the host's queue."""

    def __init__(self, limiter: HostLimiter, host: str, queue: _HostQueue) -> None:
        self._limiter, self._host, self._queue = limiter, host, queue
        self._granted = Latch()

    def wait(self, seconds: float) -> bool:
        """Wait until the slot is granted, at most `seconds`; whether it is granted."""
        return self._granted.wait(seconds)

    def leave(self) -> None:
        """Give the slot back, or stop waiting for it. To be called once."""
        self._limiter._leave(self)
