"""Since when this process has known of a delay, or of another server, by its own monotonic clock."""

from __future__ import annotations

import math
from dataclasses import replace

from onerefresh.record import Record
from onerefresh.renewal.effects import Instant

__all__ = ["Sightings"]


class Sightings:
    """What one process remembers of the failures, probations and servers of one credential that it has seen.

    A record dates its failures by the clock of the machine that wrote it. Where that clock is ahead, they would last
    until this machine's clock has caught up.
    """

    __slots__ = ("_failure", "_probation", "_server", "_server_since")

    def __init__(self) -> None:
        self._failure: tuple[float, float] | None = None  # its date, and when it was first seen
        self._probation: tuple[float, float] | None = None
        self._server: str | None = None
        self._server_since = -math.inf

    def is_unsettled(self, now: Instant, seconds: float) -> bool:
        """Whether the record was on another server until less than so many seconds ago, as this process saw it.

        The era of a store's clock tells which server it is. One that took another's place, or was started anew, may
        have lost the last writes.
        """
        self.sees_another_server(now)
        return now.monotonic - self._server_since < seconds

    def sees_another_server(self, now: Instant) -> bool:
        """Whether the record was on another server at the last look."""
        if now.shared is None or now.shared.mortal or now.shared.era == self._server:
            return False
        is_another = self._server is not None
        if is_another:
            self._server_since = now.monotonic
        self._server = now.shared.era
        return is_another

    def dated(self, record: Record | None, now: Instant) -> Record | None:
        """The record with its dates by this machine's clock, none of them later than the first sight."""
        if record is None:
            return None
        failure, probation = record.failure, record.probation
        if failure is not None:
            self._failure, at = _seen(self._failure, failure.at, now)
            if at < failure.at:
                record = replace(record, failure=replace(failure, at=at))
        if probation is not None:
            self._probation, at = _seen(self._probation, probation.at, now)
            if at < probation.at:
                record = replace(record, probation=replace(probation, at=at))
        return record


def _seen(known: tuple[float, float] | None, date: float, now: Instant) -> tuple[tuple[float, float], float]:
    if known is None or known[0] != date:
        known = (date, now.monotonic)
    return known, min(date, now.wall - (now.monotonic - known[1]))
