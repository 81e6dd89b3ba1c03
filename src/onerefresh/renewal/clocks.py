"""Readings of the clocks, and how much of a lease they leave."""

from __future__ import annotations

from typing import NamedTuple

from onerefresh.record import Lease, Record
from onerefresh.store import StoreTime
from onerefresh.store_clock import Clock

__all__ = ["Instant", "Sent", "age", "is_dated", "left_of", "most_age"]


class Instant(NamedTuple):
    """One reading of all clocks.

    * `wall`: this machine's time, in seconds since the epoch.
    * `monotonic`: this process's monotonic clock, in seconds.
    * `shared`: the store's clock, if it has one.
    * `jitter`: a random number in [0, 1).
    * `set_by_test`: a test of the user's has set the wall clock. Then refreshes are counted by it, and it says nothing
      of how old an attempt is.
    """

    wall: float
    monotonic: float
    shared: StoreTime | None
    jitter: float
    set_by_test: bool = False

    @property
    def clock(self) -> Clock:
        """The clock by which refreshes are counted: the store's, or this machine's where the store has none."""
        if self.shared is None or self.set_by_test:
            return None, self.wall
        return self.shared.clock_epoch, self.shared.seconds


def age(born: Instant, now: Instant) -> float:
    """Seconds since `born`, by the clock that shows more time.

    A machine's own clock may stand still while the machine sleeps.
    """
    age = now.monotonic - born.monotonic
    if born.shared is None or now.shared is None or born.shared.clock_epoch != now.shared.clock_epoch:
        return age
    return max(age, now.shared.seconds - born.shared.seconds)


def most_age(born: Instant, now: Instant) -> float:
    """The most seconds that may have passed since `born`: by this machine's wall clock, too.

    While a machine sleeps, its monotonic clock stands still, and the store's clock may be set, or another server's
    clock may take its place. A wall clock that was set forward makes an attempt seem older than it is. So this is for
    attempts that must not send when they are too old, and never for a time that has to pass before something is sent.
    """
    if born.set_by_test or now.set_by_test:
        return age(born, now)
    return max(age(born, now), now.wall - born.wall)


def is_dated(lease: Lease, now: Instant) -> bool:
    """Whether the store's clock, as this process reads it, tells when `lease` is over."""
    if now.shared is None or lease.clock_epoch is None:
        return False
    return now.shared.single_host or lease.clock_epoch == now.shared.clock_epoch


def left_of(lease: Lease, now: Instant) -> float:
    """Seconds until `lease` is over by the store's clock; its whole time to live where that clock cannot tell.

    A process that cannot tell watches the lease for that long. The lease may be over sooner for others, who have
    watched it for longer.
    """
    if now.shared is None or not is_dated(lease, now):
        return lease.ttl
    if lease.clock_epoch != now.shared.clock_epoch:
        return 0.0  # from an earlier boot of the only machine
    return lease.ttl - (now.shared.seconds - lease.at)


class Sent(NamedTuple):
    """A claim under which this process has sent a request, and waits for the answer.

    `since`: when it was claimed, on this process's monotonic clock; earlier by as long as that clock had stood still
    before the request, as far as the store's clock has shown it. The monotonic clock goes on where the store's clock
    tells nothing because the store has none, or another server has replaced it. Others may count the claim's time to
    live from then on, however much later the request was sent.
    """

    record: Record
    since: float

    def left(self, now: Instant) -> float:
        """Seconds until the claim is over."""
        lease = self.record.lease
        return min(left_of(lease, now), lease.ttl - (now.monotonic - self.since)) if lease is not None else 0.0
