"""How much of a processor this process uses while work waits for a thread."""

from __future__ import annotations

from onerefresh.hiring import BUSY
from onerefresh.real_time import monotonic, process_time

__all__ = ["ProcessorLoad"]

SHORTEST = 0.005
"""Seconds at least of which the share of the processor is measured."""
LONGEST = 0.04
"""Seconds without a measurement after which the next one begins anew: what was before says nothing."""


class ProcessorLoad:
    """The share of one processor that this process used between the last two measurements. It takes no lock."""

    def __init__(self) -> None:
        self.share = BUSY
        self._at, self._processor = monotonic(), process_time()

    def begins(self) -> None:
        """Work begins to wait: measure from now on, unless there was a measurement a moment ago."""
        now = monotonic()
        if now > self._at + LONGEST:
            self._at, self._processor = now, process_time()

    def measure(self) -> float:
        """The share since the last measurement, or since work began to wait."""
        now, processor = monotonic(), process_time()
        if now >= self._at + SHORTEST:
            self.share = (processor - self._processor) / (now - self._at)
            self._at, self._processor = now, processor
        return self.share
