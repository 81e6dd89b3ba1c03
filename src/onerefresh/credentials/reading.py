"""Reading a store on another thread, which takes no signals.

A signal during a read can lose for good what the read has borrowed, such as a connection of a pool.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar

from onerefresh import errors
from onerefresh.store import Store, Versioned
from onerefresh.threads import Job, start

__all__ = ["Reader"]

T = TypeVar("T")
Found = tuple[str, Versioned | errors.StoreUnavailable]
SLICE = 0.1
"""Seconds between two checks of whether the caller has to stop, and whether the thread still exists."""
IDLE = 2.0
"""Seconds after which a thread without work ends: a caller that was interrupted does not end it."""
AT_ONCE = 100
"""Records that are read before the caller gets the first of them."""


class Reader:
    """Reads for one caller. `check`: called now and then while the caller waits; raises where it has to stop."""

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store, self._check = store, check
        self._wishes: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._job: Job | None = None
        self._is_left = False

    def ask(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises on the other thread."""
        answers: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
        self._wishes.put(lambda: answers.put(_outcome(work)))
        while True:
            self._check()
            if self._job is None or self._job.over.is_set:
                self._serve_anew()
            try:
                outcome = answers.get(timeout=SLICE)
            except queue.Empty:
                continue
            return outcome()

    def each(self, keys: Iterable[str], load: Callable[[str], T]) -> Iterator[tuple[str, T]]:
        """The keys, each with the result of `load` on the other thread."""
        source = iter(keys)  # the caller's own iterable, which runs on the caller's thread
        while some := list(islice(source, AT_ONCE)):
            yield from self.ask(partial(self._all, some, load))

    def _all(self, keys: list[str], load: Callable[[str], T]) -> list[tuple[str, T]]:
        return [(key, load(key)) for key in keys if not self._is_left]

    def scan(self) -> Iterator[Found]:
        """All records of the store. Raises what the store raises, after the records before it."""
        records: list[Iterator[Found]] = []  # begun on the other thread, too

        def read() -> tuple[list[Found], Exception | None]:
            records[:] = records or [iter(self._store.scan())]
            found: list[Found] = []
            try:
                for one in islice(records[0], AT_ONCE):
                    found.append(one)  # noqa: PERF402 - records before an error count
            except Exception as error:  # noqa: BLE001 - raised below
                return found, error
            return found, None

        while True:
            found, failed = self.ask(read)
            yield from found
            if failed is not None:
                raise failed
            if len(found) < AT_ONCE:
                return

    def end(self) -> None:
        """End the thread: nothing more is to be read."""
        self._is_left = True
        self._wishes.put(None)

    def _serve_anew(self) -> None:
        try:
            self._job = start(partial(_serve, self._wishes, IDLE), "onerefresh reader", daemon=True)
        except RuntimeError:  # no thread can start: read on this one
            _serve(self._wishes, 0.0)


def _outcome(work: Callable[[], T]) -> Callable[[], T]:
    """A function that returns or raises what `work` returned or raised."""
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - raised where the result is asked for
        failed = error

        def fail() -> T:
            raise failed

        return fail
    return lambda: result


def _serve(wishes: queue.SimpleQueue[Callable[[], None] | None], idle: float) -> None:
    """Do the work in the queue, until None comes or there is none for `idle` seconds."""
    while True:
        try:
            wish = wishes.get(timeout=idle) if idle else wishes.get_nowait()
        except queue.Empty:
            return
        if wish is None:
            return
        wish()
        del wish
