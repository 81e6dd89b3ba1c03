"""Since when this process has known of a delay, so that another machine's clock cannot prolong it."""

from __future__ import annotations

from dataclasses import replace

from onerefresh.record import Record
from onerefresh.renewal.effects import Instant

__all__ = ["Sightings"]


class Sightings:
    """What one process remembers of the failures and probations that it has seen, by its own monotonic clock.

    A record dates them by the clock of the machine that wrote it. Where that clock is ahead, they would last until this
    machine's clock has caught up.
    """

    __slots__ = ("_failure", "_probation")

    def __init__(self) -> None:
        self._failure: tuple[float, float] | None = None  # its date, and when it was first seen
        self._probation: tuple[float, float] | None = None

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
