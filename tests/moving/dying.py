"""A copy in a process of its own, which kills itself at a step: ``python -m tests.moving.dying FROM TO STEP``.

A step is one side of an operation on one of the stores. It prints how many there were, where it survives.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from onerefresh import StoreUnavailable
from onerefresh.moving import copy
from onerefresh.store import AdvisoryLock, Store, StoreTime, Versioned
from onerefresh.stores import open_store

T = TypeVar("T")


class Dying(Store):
    """A store whose user is killed with SIGKILL before or after one of its operations, counted over all of them."""

    steps = 0

    def __init__(self, inner: Store, doomed: int) -> None:
        self._inner, self._doomed, self.name = inner, doomed, inner.name
        self.durable, self.may_go_back = inner.durable, inner.may_go_back

    def _step(self, work: Callable[[], T]) -> T:
        self._next()
        result = work()
        self._next()
        return result

    def _next(self) -> None:
        Dying.steps += 1
        if Dying.steps == self._doomed:
            os.kill(os.getpid(), signal.SIGKILL)

    def load(self, key: str) -> Versioned | None:
        return self._step(lambda: self._inner.load(key))

    def cas(self, key: str, expected: str | None, body: str) -> str:
        return self._step(lambda: self._inner.cas(key, expected, body))

    def hold(self, key: str) -> AdvisoryLock | None:
        return self._inner.hold(key)

    def moment(self) -> StoreTime | None:
        return self._inner.moment()

    def wait(self, key: str, version: str, timeout: float) -> None:
        self._inner.wait(key, version, timeout)

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        return self._inner.scan()


def main() -> None:
    source, target = (Dying(open_store(url), int(sys.argv[3])) for url in sys.argv[1:3])
    done = copy(source, target, at_once=1)
    assert not done.failed, done.failed
    print(Dying.steps)


if __name__ == "__main__":
    main()
