"""What `workers` knows of one thread."""

from __future__ import annotations

from onerefresh.real_time import monotonic

__all__ = ["Worker"]


class Worker:
    """One thread.

    * `is_started`: it runs, or is certain to run soon.
    * `since`: when its present step began, or when it became free, on the monotonic clock.
    * `is_replaced`: it was held up once, so that another one may have started in its place.
    * `waits`: how many frames of its stack wait for the work of other threads.
    * `helps`: how many of these frames look for other work meanwhile.
    * `pauses`: how many frames wait in the middle of work that could not pause without holding the thread.
    """

    __slots__ = ("helps", "is_replaced", "is_started", "pauses", "since", "waits")

    def __init__(self) -> None:
        self.is_started = self.is_replaced = False
        self.since = monotonic()
        self.waits = self.helps = self.pauses = 0
