"""Why a session may be lost: what no client can promise, each ground for the refresh token that it concerns."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from tests.simulator.scenario import HTTP_TIMEOUT

from onerefresh.profile import Profile

if TYPE_CHECKING:
    from tests.simulator.world import World

    from onerefresh.token import Token

__all__ = ["NOTICING", "Excuse", "Excuses", "keeps_grace_promise", "promised_time_to_live"]

NOTICING = 2.0
"""Seconds within which somebody who waits must have noticed an attempt, for a grace server's promise to hold."""


class Excuse(enum.StrEnum):
    """Why a credential may be lost, each for some kinds of server."""

    CRASH = "a crash after sending"
    ANSWER = "an answer that was lost"
    OVERRUN = "a holder kept away for longer than its time to live"
    UNSAVED = "the new token could be written nowhere"
    ROLLBACK = "a store that went back"
    UNWATCHED = "nobody was there to take over within the grace window"


_ONWARDS = frozenset({Excuse.OVERRUN, Excuse.ROLLBACK, Excuse.UNWATCHED})
"""What may end the session later, when others have gone on from the refresh token in question."""


class _Ground(NamedTuple):
    excuse: Excuse
    session: int
    number: int  # of the refresh token, as the server counts what it issues
    onwards: bool


class Excuses:
    """The grounds of one run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._grounds: set[_Ground] = set()

    def add(self, excuse: Excuse, spent: Token | None, *, onwards: bool = False) -> None:
        """`spent`: the token whose refresh token is in danger. `onwards`: as for `_ONWARDS`."""
        if spent is not None and spent.refresh_token is not None:
            session, number = self._named(spent)
            self._grounds.add(_Ground(excuse, session, number, onwards or excuse in _ONWARDS))

    @property
    def kinds(self) -> frozenset[Excuse]:
        """All that there were, of whatever session."""
        return frozenset(ground.excuse for ground in self._grounds)

    def count(self, excuse: Excuse) -> int:
        """The refresh tokens for which it was a ground."""
        return sum(ground.excuse is excuse for ground in self._grounds)

    def of(self, lost: Token | None) -> set[Excuse]:
        """Those that concern the loss of this token."""
        if lost is None or lost.refresh_token is None:
            return set()
        session, number = self._named(lost)
        unordered = self._world.judge.unordered  # a store that went back may have gone back to any generation
        return {
            ground.excuse
            for ground in self._grounds
            if ground.session == session
            and (ground.number == number or unordered or (ground.onwards and ground.number < number))
        }

    def _named(self, token: Token) -> tuple[int, int]:
        text = token.reveal_refresh_token()
        return self._world.server.session_of[text], int(text.rpartition("-")[2])


def keeps_grace_promise(profile: Profile) -> bool:
    """Whether a grace window is long enough to take over within it."""
    return profile.grace - NOTICING - HTTP_TIMEOUT > HTTP_TIMEOUT + NOTICING


def promised_time_to_live(world: World) -> float:
    """Seconds, at least, that a holder may be kept away, as the protocol's page says."""
    scenario = world.scenario
    profile, expires_in = scenario.profile, scenario.manner.expires_in
    if not profile.rotates:
        return 30.0
    if keeps_grace_promise(profile):
        return min(profile.grace - NOTICING - HTTP_TIMEOUT, 30.0)
    record = world.store.record
    token = record.token if record is not None else None
    if token is None:
        return 300.0 if expires_in is None else 30.0
    if token.expires_at is None:
        return 300.0
    is_dated = scenario.has_clock and (scenario.hosts > 1 or scenario.may_go_back)
    if world.clocks_were_set or (is_dated and world.store_clock_set_at > world.server.issued(token)):
        return 30.0  # how long the access token still served was reckoned by a clock that is another now
    # One that was refused, and stands in the place of a useless one, has ended, however long the server's tokens live.
    # Without the store's clock, a machine knows how far its own is off only for a token that it has got itself.
    skews = [(host.clock.time(), world.skew_for(host, token)) for host in world.hosts]
    times = [now - skew for now, skew in skews] + ([] if scenario.has_clock else [now for now, _ in skews])
    left = token.expires_at - max(times)
    return min(max(left, 30.0), 300.0)
