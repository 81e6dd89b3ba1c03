"""Hosts: what processes on one machine share, and what tells machines apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerefresh.renewal.world import Spooled
from onerefresh.store import AdvisoryLock

if TYPE_CHECKING:
    from tests.simulator.process import Process
    from tests.simulator.tasks import Task
    from tests.simulator.timeline import Timeline

__all__ = ["START", "Host", "HostClock", "KernelHold"]

START = 1_700_000_000.0
"""Seconds since the epoch at which every run begins."""


class HostClock:
    """The clocks of one machine: `skew` is how far its wall clock is off, `offset` where its monotonic one began."""

    def __init__(self, timeline: Timeline, skew: float, offset: float) -> None:
        self._timeline = timeline
        self._wall = START + skew
        self._offset = offset
        self._slept = 0.0
        self._fell_asleep = self._wakes = 0.0

    def time(self) -> float:
        return self._wall + self._timeline.now

    def monotonic(self) -> float:
        now = self._timeline.now
        return self._offset + now - self._slept - (min(now, self._wakes) - self._fell_asleep)

    def sleep(self, seconds: float) -> None:
        """The machine sleeps: its monotonic clock stands still, its wall clock goes on."""
        now = self._timeline.now
        if now >= self._wakes:
            self._slept += self._wakes - self._fell_asleep
            self._fell_asleep = self._wakes = now
        self._wakes = max(self._wakes, now + seconds)

    def set_forward(self, seconds: float) -> None:
        """Somebody, or NTP, sets the wall clock."""
        self._wall += seconds


class Host:
    """One machine: its clocks, its spool folder, its lock file, its processes."""

    def __init__(self, name: str, clock: HostClock) -> None:
        self.name = name
        self.clock = clock
        self.boots = 1
        self.spool: dict[str, Spooled] = {}
        self.spooled: set[str] = set()  # the attempts whose token was ever in there, and their access tokens
        self.spool_fails_until = 0.0
        self.save_fails_until = 0.0
        self.asleep_until = 0.0
        self.processes: list[Process] = []
        self.holder: Task | None = None
        self.freed: list[tuple[Task, int]] = []  # who waits for the lock, by task and effect

    @property
    def death_proof(self) -> str:
        return f"flock {self.name} {self.boots}"


class KernelHold(AdvisoryLock):
    """A lock of one host's kernel, which lets it go when its holder dies."""

    def __init__(self, host: Host) -> None:
        self.death_proof = host.death_proof
