"""Watching a period that another attempt has begun, until it is over by the store's clock or by one's own."""

from __future__ import annotations

from onerefresh.record import Lease
from onerefresh.renewal.clocks import Instant, left_of


class PeriodWatch:
    """The last lease of another attempt that this renewal has seen, and since when it has watched that lease.

    A lease is over by the store's clock, or by this process's monotonic clock once it has been watched for its whole
    time to live. So a store without a clock, or with a clock that was set, delays nobody for longer than that.
    """

    __slots__ = ("since", "watched")

    def __init__(self) -> None:
        self.watched: str | None = None
        self.since = 0.0

    @property
    def began(self) -> float | None:
        """When this renewal first saw that lease, on the monotonic clock; None where it has seen none."""
        return self.since if self.watched is not None else None

    def left(self, lease: Lease, now: Instant) -> float:
        """Seconds until `lease` is over, by the clock on which it ends first."""
        if lease.id != self.watched:
            self.watched, self.since = lease.id, now.monotonic
        return min(lease.ttl - (now.monotonic - self.since), left_of(lease, now))
