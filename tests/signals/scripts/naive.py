"""The latches and the start of threads as one would write them: by this the storm shows that it would notice."""

from __future__ import annotations

import threading
from collections.abc import Callable

from onerefresh import flight, threads, timekeeper, workers


class NaiveLatch:
    """As `Latch`, on the event of the standard library, which is a lock and a condition in Python."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(max(seconds, 0.0))


def start(work: Callable[[], object], name: str, *, daemon: bool = False, shared: bool = False) -> None:
    threading.Thread(target=work, name=name, daemon=daemon).start()


def make() -> None:
    """Put them in the place of the library's own."""
    for module in (threads, flight):
        setattr(module, "Latch", NaiveLatch)  # noqa: B010 - the types say that it is another class
    for module in (timekeeper, workers):
        setattr(module, "start", start)  # noqa: B010 - as above
