"""The simulated store: one record, compare-and-swap, and all the ways in which a store can disappoint."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from onerefresh import errors
from onerefresh.record import Record
from onerefresh.record_text import decode, encode
from onerefresh.renewal.world import Loaded
from onerefresh.store import Conflict

if TYPE_CHECKING:
    from tests.simulator.timeline import Timeline

__all__ = ["SimulatedStore"]

ROUND_TRIP_EVERY = 61
"""Of so many records one is written as text and read again, as a real store does."""


class SimulatedStore:
    """Holds records as objects, without what their text does not say. `written` is called with each change."""

    def __init__(self, timeline: Timeline, written: Callable[[Record | None, Record], None]) -> None:
        self.record: Record | None = None
        self.version: str | None = None
        self.changed_at = 0.0
        self.went_back = 0
        self._timeline = timeline
        self._written = written
        self._writes = 0
        self.down_until = 0.0
        self._past: list[tuple[float, Record | None]] = [(0.0, None)]
        self.changed: list[Callable[[], None]] = []

    @property
    def is_down(self) -> bool:
        return self._timeline.now < self.down_until

    def go_down(self, seconds: float) -> None:
        self.down_until = max(self.down_until, self._timeline.now + seconds)

    def load(self) -> Loaded:
        self._check()
        return Loaded(self.version, self.record)

    def cas(self, expected: str | None, record: Record) -> str:
        self._check()
        if expected != self.version:
            raise Conflict("another version")
        if self._writes % ROUND_TRIP_EVERY == 0:
            record = _through_text(record)
        record = _as_stored(record)
        before = self.record
        self._put(record)
        self._past.append((self._timeline.now, record))
        self._written(before, record)
        assert self.version is not None
        return self.version

    def begin_with(self, record: Record) -> None:
        """It holds a record before the run begins."""
        self._put(record)
        self._past.append((self._timeline.now, record))

    def go_back(self, seconds: float) -> bool:
        """Forget what was written in the last seconds; whether there was anything but the first record."""
        index = bisect.bisect_right(self._past, self._timeline.now - seconds, key=lambda entry: entry[0]) - 1
        index = max(index, 1)  # the first record is not forgotten: that would be a wiped store
        if index >= len(self._past) - 1:
            return False
        del self._past[index + 1 :]
        record = self._past[-1][1]
        assert record is not None
        self._put(record)
        self.went_back += 1
        return True

    def wipe(self) -> None:
        """Somebody deletes the record."""
        self._writes += 1
        self.record = self.version = None
        self._past = [(self._timeline.now, None)]

    def _put(self, record: Record) -> None:
        self._writes += 1
        self.record, self.version, self.changed_at = record, str(self._writes), self._timeline.now
        waiting, self.changed = self.changed, []
        for wake in waiting:
            wake()

    def _check(self) -> None:
        if self.is_down:
            raise errors.StoreUnavailable("the simulated store is down")


def _as_stored(record: Record) -> Record:
    """The record without what only the process that made it knows."""
    lease = record.lease
    return record if lease is None or not lease.taken_from else replace(record, lease=replace(lease, taken_from=""))


def _through_text(record: Record) -> Record:
    found = decode(encode(record), "simulated")
    if found != record or repr(found) != repr(_as_stored(record)):
        raise AssertionError(f"the text of a record says something else: {record} became {found}")
    return replace(found)
