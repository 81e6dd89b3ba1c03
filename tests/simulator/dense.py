"""Scenarios in which one kind of trouble comes several times: what an ordinary seed rarely has together."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.simulator.faults import Fault, Happening, Point, What
from tests.simulator.scenario import Scenario

__all__ = ["TROUBLES", "dense"]

SECONDS = (0.5, 2.0, 5.0, 20.0, 40.0, 70.0)
CLOCK_STEPS = (-7200.0, -3600.0, -600.0, -90.0, -3.0, 3.0, 90.0, 600.0, 3600.0, 7200.0)
SKEWS = (0.0, 0.3, 20.0, -90.0, 3600.0, -3600.0)
LIVES = (30.0, 60.0, 300.0, 3600.0)
LOST_RECORDS = (What.VANISHED, What.FAILOVER, What.RESTORED, What.EMPTY_FAILOVER)
CLOCKS = (What.CLOCK_SET, What.STORE_CLOCK_SET)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A kind of trouble.

    * `faults`, `happenings`: what may go wrong; of each, `most_faults` and `most_happenings` at most are drawn.
    * `seconds`: how long a fault lasts.
    * `wrong_clocks`: the machines' clocks are off, and servers state dates. `obtains`: as for a `Scenario`.
    """

    faults: tuple[tuple[What, Point], ...]
    happenings: tuple[What, ...]
    most_faults: int = 3
    most_happenings: int = 3
    seconds: tuple[float, ...] = (2.0, 8.0, 20.0, 40.0, 70.0)
    wrong_clocks: bool = False
    obtains: bool = False


_CLAIMS = Trouble(
    (
        (What.SLOW_ANSWER, Point.SEND),
        (What.SLOW_ANSWER, Point.SEND),
        (What.UNKNOWN_LATER, Point.CLAIM),
        (What.UNKNOWN_APPLIED, Point.CLAIM),
        (What.PAUSE_AFTER, Point.CLAIM),
        (What.ASLEEP_AFTER, Point.CLAIM),
        (What.CRASH_AFTER, Point.SEND),
        (What.PAUSE_BEFORE, Point.SEND),
        (What.UNAVAILABLE, Point.SEND),
        (What.LOST_ANSWER, Point.SEND),
        (What.PAUSE_BEFORE, Point.COMMIT),
    ),
    LOST_RECORDS,
    most_faults=4,
)
_LOGINS = Trouble(
    (
        (What.SLOW_ANSWER, Point.SEND),
        (What.STORE_DOWN, Point.COMMIT),
        (What.PAUSE_BEFORE, Point.COMMIT),
        (What.UNKNOWN_LATER, Point.RELEASE),
        (What.PAUSE_AFTER, Point.LOAD),
        (What.ASLEEP_BEFORE, Point.CLAIM),
        (What.LOST_ANSWER, Point.SEND),
    ),
    (What.LOGIN, What.LOGIN, What.SAME_LOGIN, What.LOGOUT, *LOST_RECORDS),
    most_happenings=5,
)
_FAILURES = Trouble(
    (
        (What.ASLEEP_AFTER, Point.CLAIM),
        (What.PAUSE_AFTER, Point.CLAIM),
        (What.PAUSE_BEFORE, Point.SEND),
        (What.LOST_ANSWER, Point.SEND),
        (What.LOST_REQUEST, Point.SEND),
        (What.LATE_REQUEST, Point.SEND),
        (What.THROTTLED, Point.SEND),
        (What.DOUBTFUL, Point.SEND),
        (What.REJECTED, Point.SEND),
        (What.ERROR_AFTER, Point.SEND),
        (What.GARBAGE, Point.SEND),
        (What.SLOW_ANSWER, Point.SEND),
        (What.STORE_DOWN, Point.RELEASE),
        (What.UNKNOWN_LATER, Point.RELEASE),
        (What.UNKNOWN_LOST, Point.RELEASE),
        (What.PAUSE_BEFORE, Point.RELEASE),
    ),
    (What.OUTAGE, What.DOUBTFUL, What.LOGIN, *LOST_RECORDS),
    most_faults=5,
    most_happenings=2,
    seconds=(2.0, 8.0, 15.0, 35.0, 60.0, 110.0, 290.0, 400.0),
)
_TIMES = Trouble(
    (
        (What.STORE_DOWN, Point.COMMIT),
        (What.CRASH_BEFORE, Point.SLEEP),
        (What.USELESS, Point.SEND),
        (What.SLOW_ANSWER, Point.SEND),
        (What.ASLEEP_AFTER, Point.SEND),
        (What.PAUSE_BEFORE, Point.COMMIT),
        (What.ASLEEP_BEFORE, Point.COMMIT),
    ),
    (*CLOCKS, *CLOCKS, *CLOCKS, What.VANISHED, What.FAILOVER),
    wrong_clocks=True,
)
_SOURCES = replace(
    _FAILURES, happenings=(What.SESSION_ENDED, What.SESSION_ENDED, What.DOUBTFUL, *LOST_RECORDS), obtains=True
)
TROUBLES = {
    "claims that the store loses": _CLAIMS,
    "logins and losses": _LOGINS,
    "failures of several attempts": _FAILURES,
    "clocks": _TIMES,
    "sessions that end and are obtained anew": _SOURCES,
}


def dense(seed: int) -> Scenario:
    """The scenario of a seed with one kind of trouble, in place of what it has by itself."""
    rng = random.Random(f"{seed} dense")
    trouble = TROUBLES[rng.choice(sorted(TROUBLES))]
    duration = rng.uniform(40.0, 120.0)
    found = replace(Scenario.of(seed), duration=duration, host_saves=False, faults=_faults(rng, trouble))
    happenings = _happenings(rng, trouble, duration)
    may_go_back = any(one.what in (What.FAILOVER, What.EMPTY_FAILOVER) for one in happenings) or rng.random() < 0.5
    if may_go_back:  # a backup is restored into stores that lose nothing by themselves
        happenings = [replace(one, what=What.FAILOVER) if one.what is What.RESTORED else one for one in happenings]
    found = replace(
        found,
        happenings=tuple(happenings),
        may_go_back=may_go_back,
        obtains=trouble.obtains or rng.random() < 0.05,
        manner=replace(found.manner, expires_in=rng.choice(LIVES)),
    )
    if not trouble.wrong_clocks:
        return found
    hosts = rng.choice((1, 2, 2, 3))
    return replace(
        found,
        hosts=hosts,
        processes=hosts + rng.randrange(1, 4),
        skews=tuple(rng.choice(SKEWS) for _ in range(hosts)),
        states_dates=rng.random() < 0.8,
        has_flock=hosts == 1,
        has_clock=hosts == 1 or rng.random() < 0.7,
        visited_every=rng.choice((0.0, 0.0, 3.0)),
    )


def _faults(rng: random.Random, trouble: Trouble) -> tuple[Fault, ...]:
    chosen = rng.sample(trouble.faults, rng.randrange(1, trouble.most_faults + 1))
    return tuple(
        Fault(what, point, rng.randrange(1, 5), rng.choice(trouble.seconds) * rng.uniform(0.8, 1.2))
        for what, point in chosen
    )


def _happenings(rng: random.Random, trouble: Trouble, duration: float) -> list[Happening]:
    """So many of those of the trouble, and revocations, without which nothing would be refreshed."""
    found = [Happening(What.REVOKED, rng.uniform(2.0, duration)) for _ in range(rng.randrange(1, 4))]
    for _ in range(rng.randrange(1, trouble.most_happenings + 1)):
        what = rng.choice(trouble.happenings)
        seconds = rng.choice(CLOCK_STEPS if what in CLOCKS else SECONDS)
        near = rng.choice(found).at + rng.choice((-3.0, -0.05, 0.005, 1.0, 5.0))  # beside another one, or anywhere
        at = near if rng.random() < 0.4 else rng.uniform(2.0, duration)
        found.append(Happening(what, min(max(at, 0.5), duration), seconds))
    return found
