"""By which clock a record's token is dated, and how far this machine's clock is ahead of that one.

A token's times are in its server's time, as far as the answer showed that. A machine whose clock is off has to know by
how much, or else each of its processes would take a fresh token for an expired one, and refresh it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from onerefresh.expiry import LEAST_SKEW, worth_it
from onerefresh.record import Record, TokenClock
from onerefresh.renewal.clocks import Instant
from onerefresh.token import Token

__all__ = ["clock_of", "kept_clock", "known_clock", "skew_here"]

UNKNOWN = ""
"""The machine of a token whose answer did not show the server's time."""


def clock_of(token: Token, generation: int, now: Instant, machine: str) -> TokenClock | None:
    """What the record says of the clock of a token that this machine has just got; None where nothing is known.

    Where the answer did not show the server's time, it says no more than how the store's clock compares with this
    machine's, which may be set later, or may never see the token again.

    A token may have been spooled for a while. If it is not issued yet by this machine's clock, that was set back since.
    """
    skew = token.clock_skew
    if skew is None:
        if now.shared is None or now.set_by_test:
            return None
        at = token.issued_at if now.wall < token.issued_at - LEAST_SKEW else now.wall
        return TokenClock(generation, UNKNOWN, 0.0, now.shared.clock_epoch, _whole(now.shared.seconds - at))
    if now.wall - skew < token.issued_at - LEAST_SKEW:
        skew = now.wall - token.issued_at
    epoch, ahead = None, 0.0
    if now.shared is not None:
        epoch, ahead = now.shared.clock_epoch, _whole(now.shared.seconds - (now.wall - skew))
    return TokenClock(generation, machine, skew, epoch, ahead)


def known_clock(token: Token, now: Instant, machine: str, known: float) -> TokenClock | None:
    """What the record says of the clock of a token that this machine has had for a while; None where nothing is known.

    `known`: as for `skew_here`. A process that only read the token may know it; 0 says nothing then.
    """
    skew = token.clock_skew if token.clock_skew is not None else known or None
    if skew is None or not machine:
        return None
    return clock_of(replace(token, clock_skew=skew), token.generation, now, machine)


def kept_clock(record: Record) -> TokenClock | None:
    """What the next generation of `record` says of the clock of its access token where that token stays the same.

    Another machine has got it, whose clock may differ from this one's by less than a skew that counts.
    """
    clock = record.token_clock
    if clock is None or clock.generation != record.generation:
        return None
    return replace(clock, generation=record.generation + 1)


def _whole(seconds: float) -> float:
    """Seconds to the millisecond: so two readings of the same two clocks are equal."""
    return round(seconds, 3)


def skew_here(record: Record | None, now: Instant, machine: str, known: float = 0.0) -> float:
    """Seconds by which this machine's clock is ahead of the clock of the record's token; 0 where that is not known.

    `known`: the skew that this process has found before; 0 says nothing. Of two skews the smaller one counts, with
    which a token ends too early rather than too late: one of the clocks may have been set since, or may stand still
    while a machine is asleep.

    No token is used before it is issued. So a store's clock by which this one is not issued yet was set back since, and
    tells nothing else. What the record says of this machine still counts, unless that clock was set back, too.
    """
    clock = record.token_clock if record is not None else None
    if record is None or clock is None or clock.generation != record.generation:
        return 0.0  # the times are those of the machine that wrote them, as far as is known
    shared, found, was_set_back = now.shared, [], False
    issued_at = record.token.issued_at if record.token is not None else -math.inf
    if shared is not None and clock.clock_epoch == shared.clock_epoch:
        at = shared.seconds - clock.ahead
        was_set_back = at < issued_at - LEAST_SKEW
        if not was_set_back:
            found.append(now.wall - at)
        elif known:
            found.append(known)
    if clock.machine == UNKNOWN:
        found.append(0.0)  # a moment that the server stated is right as it is, and a lifetime ends too early then
    if machine and clock.machine == machine and not (was_set_back and now.wall - clock.skew < issued_at - LEAST_SKEW):
        found.append(clock.skew)
    skew = min(found, default=known)
    return worth_it(min(skew, now.wall - issued_at) if was_set_back else skew)
