"""Workers that read and write one record at the same time, in threads or in processes, and record what they saw."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier as ProcessBarrier
from threading import BrokenBarrierError
from typing import TypeVar

from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.losses import KEY as LOSSES
from onerefresh.store import AdvisoryLock, Conflict, Store, StoreOutcomeUnknown
from onerefresh.testing.stores.history import NOTHING, Did, Mark, Operation

__all__ = ["KEY", "KEYS", "Opener", "Outage", "held_elsewhere", "record_in_processes", "record_in_threads", "soon"]

T = TypeVar("T")

Opener = Callable[[], Store]
Outage = Callable[[], AbstractContextManager[object]]

KEY = "acme"
KEYS = ["acme", "ACME", "äöü", "a/b", "../up", "a b", "' OR 1=1 --", "%", "🗝", "x" * 512, LOSSES]
PATIENCE = 60.0
"""Seconds after which something that does not happen is given up."""


class Worker:
    """Reads and writes the record, round by round. With an `outage`, it makes one in every third round.

    `meet`: waits for all other workers.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        meet: Callable[[], object] = lambda: None,
        *,
        may_fail: bool = False,
        outage: Outage | None = None,
    ) -> None:
        self._name, self._store, self._meet, self._may_fail, self._outage = name, store, meet, may_fail, outage
        self.history: list[Operation] = []

    def work(self, rounds: int) -> None:
        """Do `rounds` rounds. In each, read, write over what was read, and read again.

        In every second round it does so with the lock, if that is free. In two of three rounds all workers meet between
        reading and writing, because nothing else makes sure that they conflict. In the others they meet by chance.
        """
        self._meet()
        for number in range(rounds):
            with self._holding() if number % 2 else contextlib.nullcontext():
                read = self.read()
                if number % 3:
                    self._meet()
                with self._outage() if self._outage and number % 3 == 1 else contextlib.nullcontext():
                    if read is not None:
                        self._write(read, f"{self._name}, round {number}")
                self.read()

    def read(self) -> Operation | None:
        """What is stored now; None where the store failed."""
        begin = time.monotonic_ns()
        try:
            found = self._store.load(KEY)
        except StoreUnavailable:
            if not self._may_fail:
                raise
            return None
        end = time.monotonic_ns()
        if found is None:
            return self._note(Did.READ, begin, end)
        return self._note(Did.READ, begin, end, Mark.parse(found.body), found.version)

    def _write(self, read: Operation, author: str) -> None:
        mark, version = Mark(read.mark.generation + 1, author), None
        begin = time.monotonic_ns()
        try:
            version = self._store.cas(KEY, read.version, str(mark))
            did = Did.WRITTEN
        except Conflict:
            did = Did.CONFLICT
        except StoreUnavailable:
            if not self._may_fail:
                raise
            did = Did.UNAVAILABLE
        except StoreOutcomeUnknown:
            if not self._may_fail:
                raise
            did = Did.UNKNOWN
        self._note(did, begin, time.monotonic_ns(), mark, version)

    @contextlib.contextmanager
    def _holding(self) -> Iterator[None]:
        hold: AdvisoryLock | None = None
        try:
            hold = self._store.hold(KEY)
        except StoreUnavailable:
            if not self._may_fail:
                raise
        begin = time.monotonic_ns()
        yield
        if hold is not None:
            if hold.death_proof is not None:
                self._note(Did.HELD, begin, time.monotonic_ns())
            hold.release()

    def _note(self, did: Did, begin: int, end: int, mark: Mark = NOTHING, version: str | None = None) -> Operation:
        self.history.append(Operation(self._name, did, begin, end, mark, version))
        return self.history[-1]


def record_in_threads(
    opener: Opener, *, workers: int = 4, rounds: int = 10, outage: Outage | None = None
) -> list[Operation]:
    """What `workers` threads did, each with its own opening of the store, and what is stored at the end.

    `outage`: makes a context manager in which the store fails; one worker makes outages for all. Raises what the store
    raises, except failures where there are outages.
    """
    start = threading.Barrier(workers, timeout=PATIENCE)

    def work(number: int) -> list[Operation]:
        with closing(opener()) as store:
            makes_outages = outage if number == 0 else None
            worker = Worker(f"thread {number}", store, start.wait, may_fail=outage is not None, outage=makes_outages)
            return _worked(worker, rounds, start)

    with ThreadPoolExecutor(workers) as pool:
        return [*_all(pool.submit(work, number) for number in range(workers)), _at_the_end(opener)]


def record_in_processes(opener: Opener, *, workers: int = 4, rounds: int = 10) -> list[Operation]:
    """What `workers` new processes did, each with its own opening of the store, and what is stored at the end.

    Raises what the store raises, and `ConfigurationError` for an `opener` that cannot be sent to another process.
    """
    check_portable(opener)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(workers, timeout=PATIENCE)
    with ProcessPoolExecutor(workers, context, _set_start, (start,)) as pool:
        found = _all(pool.submit(_work_in_process, opener, rounds, number) for number in range(workers))
        return [*found, _at_the_end(opener)]


_start: ProcessBarrier


def _set_start(start: ProcessBarrier) -> None:
    global _start
    _start = start


def _work_in_process(opener: Opener, rounds: int, number: int) -> list[Operation]:
    with closing(opener()) as store:
        return _worked(Worker(f"process {number}", store, _start.wait), rounds, _start)


def _worked(worker: Worker, rounds: int, start: threading.Barrier | ProcessBarrier) -> list[Operation]:
    try:
        worker.work(rounds)
    except BaseException:
        start.abort()  # the others need not wait for this one
        raise
    return worker.history


def _all(futures: Iterable[Future[list[Operation]]]) -> list[Operation]:
    """What all workers did. Raises why one failed, rather than that the others waited in vain."""
    started = list(futures)
    failures = [failure for future in started if (failure := future.exception()) is not None]
    if failures:
        raise next((failure for failure in failures if not isinstance(failure, BrokenBarrierError)), failures[0])
    return [operation for future in started for operation in future.result()]


def _at_the_end(opener: Opener) -> Operation:
    with closing(opener()) as store:
        read = Worker("the last reader", store).read()
    assert read is not None, "a reader that may not fail raises"
    return read


@contextlib.contextmanager
def held_elsewhere(opener: Opener, body: str) -> Iterator[tuple[str, str | None]]:
    """A context in which another process has written `body` and holds the lock; at its end that process is killed.

    Gives version and death proof. Raises `ConfigurationError` for an `opener` that cannot be sent to another process.
    """
    check_portable(opener)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(opener, body, theirs), daemon=True)
    with ours:
        process.start()
        theirs.close()
        try:
            if not ours.poll(PATIENCE):
                raise TimeoutError(f"the process that opens the store did not answer for {PATIENCE:.0f} s")
            version, death_proof = ours.recv()
            yield version, death_proof
        finally:
            process.kill()
            process.join()
            process.close()


def _hold(opener: Opener, body: str, parent: Connection) -> None:
    store = opener()
    version = store.cas(KEY, None, body)
    hold = store.hold(KEY)
    assert hold is not None, "no other process holds it"
    parent.send((version, hold.death_proof))
    parent.poll(None)  # until it is killed, or the parent is gone


def check_portable(opener: Opener) -> None:
    """Raise `ConfigurationError` where `opener` cannot be sent to another process."""
    try:
        pickle.dumps(opener)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            f"the opener is sent to other processes, but cannot be pickled ({error}): "
            "pass functools.partial(YourStore, …), or a function of a module, not a lambda or a nested function"
        ) from None


def soon(use: Callable[[], T]) -> T:
    """The result of `use`, which must not block."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(use())
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread of the test
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)  # a blocked one must not keep the tests from ending
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it blocks"
    if failures:
        raise failures[0]
    return results[0]
