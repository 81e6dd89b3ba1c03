"""Readings of the clocks, and how long a period that somebody has begun goes on by them."""

from __future__ import annotations

from dataclasses import dataclass

from onerefresh.record import Clock, Lease, Record
from onerefresh.store import StoreTime

__all__ = ["Instant", "Sent", "age", "left_of"]


@dataclass(frozen=True, slots=True)
class Instant:
    """`wall`: seconds since the epoch; `monotonic`: this process's own; `shared`: the store's clock, if it has one.

    `jitter`: a random number in [0, 1), for jitter.
    """

    wall: float
    monotonic: float
    shared: StoreTime | None
    jitter: float

    @property
    def clock(self) -> Clock:
        """What refreshes are counted by: the store's clock, if it has one."""
        return (None, self.wall) if self.shared is None else (self.shared.clock_epoch, self.shared.seconds)


def age(born: Instant, now: Instant) -> float:
    """Seconds since `born`, by the clock that says more: a machine's own may stand still while the machine sleeps."""
    age = now.monotonic - born.monotonic
    if born.shared is None or now.shared is None or born.shared.clock_epoch != now.shared.clock_epoch:
        return age
    return max(age, now.shared.seconds - born.shared.seconds)


def left_of(lease: Lease, now: Instant) -> float:
    """Seconds until `lease` is over, as far as the store's clock tells; else all that it has to live.

    A process that finds it there watches it for that long.
    """
    if now.shared is None or lease.clock_epoch is None:
        return lease.ttl
    if lease.clock_epoch != now.shared.clock_epoch:
        return 0.0 if now.shared.single_host else lease.ttl
    return lease.ttl - (now.shared.seconds - lease.at)


@dataclass(frozen=True, slots=True)
class Sent:
    """The claim under which this process has sent, and waits for an answer. `since`: when, by its own clock.

    That goes on where the store's clock tells nothing: it has none, or another server has taken its place.
    """

    record: Record
    since: float

    def left(self, now: Instant) -> float:
        """Seconds until the claim is over."""
        lease = self.record.lease
        return min(left_of(lease, now), lease.ttl - (now.monotonic - self.since)) if lease is not None else 0.0
