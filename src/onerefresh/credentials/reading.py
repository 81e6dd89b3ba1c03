"""Reading a store for whoever may be interrupted: on another thread, which takes no signals.

A signal in the midst of a read can lose what the read has borrowed, such as a connection of a pool, for good.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar

from onerefresh import errors
from onerefresh.latches import Job, start
from onerefresh.store import Store, Versioned

__all__ = ["Reader"]

T = TypeVar("T")
Found = tuple[str, Versioned | errors.StoreUnavailable]
SLICE = 0.1
"""Seconds between two looks at whether the caller has to stop, and at whether the thread is still there."""
IDLE = 2.0
"""Seconds after which the thread ends for which nobody has anything to do: whoever was interrupted does not say so."""
AT_ONCE = 100
"""Records that are read before the caller sees the first of them."""


class Reader:
    """Reads for one caller. `check`: called now and then while he waits; raises where he has to stop."""

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store, self._check = store, check
        self._wishes: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._job: Job | None = None
        self._is_left = False

    def ask(self, work: Callable[[], T]) -> T:
        """What `work` returns on the other thread, or raises."""
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
        """The keys, each with what `load` makes of it on the other thread."""
        source = iter(keys)  # the caller's own: it runs on his thread
        while some := list(islice(source, AT_ONCE)):
            yield from self.ask(partial(self._all, some, load))

    def _all(self, keys: list[str], load: Callable[[str], T]) -> list[tuple[str, T]]:
        return [(key, load(key)) for key in keys if not self._is_left]

    def scan(self) -> Iterator[Found]:
        """Raises what the store raises, after what came before that."""
        records: list[Iterator[Found]] = []  # begun on the other thread, too

        def read() -> tuple[list[Found], Exception | None]:
            records[:] = records or [iter(self._store.scan())]
            found: list[Found] = []
            try:
                for one in islice(records[0], AT_ONCE):
                    found.append(one)  # noqa: PERF402 - what came before an error counts
            except Exception as error:  # noqa: BLE001 - it is raised below
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
        """Nothing more is to be read."""
        self._is_left = True
        self._wishes.put(None)

    def _serve_anew(self) -> None:
        try:
            self._job = start(partial(_serve, self._wishes, IDLE), "onerefresh reader", daemon=True)
        except RuntimeError:  # no thread can start: nothing is left but to read here
            _serve(self._wishes, 0.0)


def _outcome(work: Callable[[], T]) -> Callable[[], T]:
    """What gives or raises, when it is called, what `work` gave or raised."""
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - it is raised where it is asked for
        failed = error

        def fail() -> T:
            raise failed

        return fail
    return lambda: result


def _serve(wishes: queue.SimpleQueue[Callable[[], None] | None], idle: float) -> None:
    """Do what is wished for, until somebody says that this is all, or nobody wishes for anything."""
    while True:
        try:
            wish = wishes.get(timeout=idle) if idle else wishes.get_nowait()
        except queue.Empty:
            return
        if wish is None:
            return
        wish()
        del wish
