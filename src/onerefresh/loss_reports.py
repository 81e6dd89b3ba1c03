"""Reporting losses: one write for all that threads report at the same time."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable

from onerefresh.latches import Latch
from onerefresh.losses import report_losses
from onerefresh.store import Store, reset_in_child

__all__ = ["Reports", "reports"]

SLICE = 0.05
"""Seconds between two checks by a thread that waits for another thread's report of whether it has to write itself."""


class _Report:
    """What one thread has to report. `mark`: the result, once the report is `over`."""

    __slots__ = ("keys", "mark", "over")

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys, self.mark, self.over = tuple(keys), "", Latch()


class _Desk:
    """The reports to one store that wait to be written, and the thread that writes now."""

    __slots__ = ("asked", "store", "writing")

    def __init__(self, store: weakref.ref[Store]) -> None:
        self.store = store
        self.asked: deque[_Report] = deque()
        self.writing: dict[str, object] = {}


class Reports:
    """The reports of one process. Where many threads find records lost at the same time, one writes for all.

    A hundred threads that write one note would delay each other for longer than a recovery lease lasts. There is no
    lock here, so it may be called anywhere.
    """

    def __init__(self) -> None:
        self._desks: dict[int, _Desk] = {}  # by the store's id: a user's store may not be hashable
        reset_in_child(self)

    def after_fork(self) -> None:
        """Forget the reports: the parent's writing threads are not in the child."""
        self._desks = {}

    def report(self, store: Store, keys: Iterable[str]) -> str:
        """See `report_losses`."""
        desk, mine = self._desk_of(store), _Report(keys)
        desk.asked.append(mine)
        while not mine.over.is_set:
            claim = object()
            if desk.writing.setdefault("by", claim) is not claim:
                mine.over.wait(SLICE)
                continue
            try:
                _write(store, desk.asked)
            finally:
                desk.writing.clear()
        return mine.mark

    def _desk_of(self, store: Store) -> _Desk:
        desk = self._desks.get(id(store))
        if desk is None or desk.store() is not store:
            for place in [place for place, one in list(self._desks.items()) if one.store() is None]:
                self._desks.pop(place, None)
            desk = self._desks.setdefault(id(store), _Desk(weakref.ref(store)))
        return desk


def _write(store: Store, asked: deque[_Report]) -> None:
    together: list[_Report] = []
    while asked:
        together.append(asked.popleft())
    try:
        mark = report_losses(store, [key for report in together for key in report.keys])
        for report in together:
            report.mark = mark
    finally:
        for report in together:
            report.over.set()


reports = Reports()
