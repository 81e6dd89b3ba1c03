"""The token that serves calls in this process, and which targets have accepted it."""

from __future__ import annotations

from typing import Protocol

from onerefresh.credential.acceptance import UNTRIED
from onerefresh.credential.cached_token import NOTHING, USUAL
from onerefresh.credential.known_session import KnownSession
from onerefresh.credential.targets import Takers
from onerefresh.damping import RefusedAt, Target
from onerefresh.real_time import CLOCKS
from onerefresh.token import Token

__all__ = ["Clock", "ServedToken"]


class Clock(Protocol):
    """`real_time.CLOCKS`, or what a simulation puts in its place."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that nobody sets."""


class ServedToken(KnownSession):
    """The token that callers get without waiting.

    `held` is replaced as a whole and read without a lock, so that a token that serves costs a call no lock.
    """

    __slots__ = ("acceptance", "clock", "held", "key", "takers", "timing")  # `held` is looked up for every request

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.clock: Clock = CLOCKS
        self.timing = USUAL
        self.held = NOTHING
        self.acceptance = UNTRIED
        self.takers: Takers | None = None  # which targets have accepted the present token

    def serving(self, refused: Token | None, target: Target | None = None) -> Token | None:
        """The token that answers a call without waiting, or None.

        `refused`: the API refused this token; `target`: where, if that is known.
        """
        token = self.held.token
        if token is None or self.clock.time() >= self.held.unusable_at:
            return None
        if refused is None:
            return token
        identity = self.identity_of(refused)
        if token.family == identity[0] and token.generation < identity[1]:
            return None
        if token.identity != identity:
            return token
        where, acceptance = self.refused_at(identity, target), self.acceptance
        is_news = where is not None and where.is_news
        # The clock is read last: what another thread has noted meanwhile is no later than that.
        return token if acceptance.is_cooling(identity, self.clock.monotonic(), is_news=is_news) else None

    def refused_at(self, identity: tuple[str, int], target: Target | None) -> RefusedAt | None:
        """Where the token of this identity was refused; None where that is not known."""
        return None if target is None else self.takers_of(identity).at(target, self.key)

    def takers_of(self, identity: tuple[str, int]) -> Takers:
        """The targets that have accepted the token of this identity."""
        takers = self.takers
        return takers if takers is not None and takers.identity == identity else Takers(identity, ())

    def accepted(self, token: Token, target: Target) -> None:
        """Remember that this target has accepted the token. It takes no lock."""
        known = self.known
        if known is not None and known.identity == token.identity:  # else it is a late answer to an older token
            self.takers = self.takers_of(token.identity).with_(target)

    def identity_of(self, refused: Token) -> tuple[str, int]:
        """The identity of a refused token.

        A token without a generation was made by hand. If its text is that of the present token, the present token is
        meant.
        """
        known = self.known
        if refused.generation == 0 and known is not None and refused.access_token == known.access_token:
            return known.identity
        return refused.identity

    def _is_dated(self, skew: float) -> None:
        """Note how far this machine's clock is ahead of that of the newest token."""
        if skew != self.timing.skew:
            self.timing = self.timing._replace(skew=skew)
