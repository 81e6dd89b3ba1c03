"""What all objects of one name on one store share in this process: the token in memory, and the flight."""

from __future__ import annotations

import math

from onerefresh import errors
from onerefresh.chance import CHANCE
from onerefresh.credential.acceptance import UNTRIED
from onerefresh.credential.cached_token import NOTHING, CachedToken, cached_for
from onerefresh.credential.served_token import ServedToken
from onerefresh.damping import Target
from onerefresh.flight import Flight
from onerefresh.locks import Lock
from onerefresh.policy import LOOK_AGAIN
from onerefresh.record import Record
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.clocks import Sent
from onerefresh.renewal.servers import Servers
from onerefresh.renewal.sightings import Sightings
from onerefresh.store import Store, is_shared
from onerefresh.token import Token

__all__ = ["LOOK_AGAIN", "SPREAD", "SessionMemory", "spread_anew"]

NONE_REPORTED: frozenset[str] = frozenset()
"""One empty set for all: a set for each would cost as much memory as the rest of a `SessionMemory`."""

SPREAD = CHANCE.random()
"""This process's jitter, in [0, 1). Replicas of one program differ in it."""


def spread_anew() -> None:
    """Draw the jitter anew, so that a forked child differs from its parent."""
    global SPREAD
    SPREAD = CHANCE.random()


class SessionMemory(ServedToken):
    """What all objects of one name on one store share in this process: the token that callers get, and the flight.

    `lock` guards the token in memory and the flight: a decision and the change that follows from it are one step.
    No other code is called under the lock.
    """

    __slots__ = (
        "__weakref__",
        "considering",
        "epoch",
        "failed",
        "flight",
        "follows",
        "jitter",
        "leased",
        "lock",
        "namesakes",
        "owner",
        "reported",
        "seed",
        "seeds_considered",
        "sightings",
        "store",
        "under_way",
        "watched",
    )

    def __init__(self, store: Store, key: str, servers: Servers | None = None) -> None:
        super().__init__(key)
        self.store = store
        self.jitter = SPREAD
        self.lock = Lock()
        self.flight: Flight[Outcome] | None = None
        self.follows = False  # whether another process was the last to refresh, as far as this one knows
        self.sightings = Sightings(servers)
        self.leased: Sent | None = None  # the claim of this process whose request is not answered yet
        self.under_way: dict[object, tuple[str, int]] | None = None  # by renewal, what it has sent; never changed
        self.namesakes: object = None  # what the registry knows of objects of this name, which ends with them
        self.owner: str | None = None  # the refresher's identity, which a lost record has to name again
        self.seed: Token | None = None
        self.watched = False  # whether a background thread checks what the store still has
        self.epoch = 0  # grows with every login and logout here, which earlier work must not undo
        self.reported = NONE_REPORTED  # what is reported once: fingerprints of seeds, and names of other things
        self.seeds_considered = NONE_REPORTED  # and of those with which they ended well
        self.considering: Flight[Outcome] | None = None  # the last flight that was apart from the others
        self.failed: tuple[errors.OnerefreshError, float] | None = None  # until when, on the monotonic clock

    # --- Renewals under way ---

    @property
    def flying(self) -> Flight[Outcome] | None:
        """The renewal under way, or None."""
        flight = self.flight
        return flight if flight is not None and not flight.settled else None

    @property
    def flights(self) -> list[Flight[Outcome]]:
        """The renewal of all callers, and the last one apart from it, where they are under way."""
        return [one for one in (self.flight, self.considering) if one is not None and not one.settled]

    # --- First tokens ---

    def knows(self, seed: Token) -> bool:
        """Whether this process has compared the seed with the session in memory, or it is part of that."""
        family, newest = seed.seed_fingerprint(), self.newest
        if family in self.earlier or family in self.seeds_considered:
            return True
        if newest is None:
            return False
        return family == newest.family or (
            seed.refresh_token is not None and seed.refresh_token == newest.refresh_token
        )

    def flight_for(self, considers: str) -> Flight[Outcome] | None:
        """The flight under way that compares this first token with the record; None where there is none."""
        for flight in self.flights:
            if flight.considers == considers:
                return flight
        return None

    def register(self, flight: Flight[Outcome]) -> None:
        """Register a new flight: as that of all callers, or apart from it where it is for a first token alone.

        Another object's flight, or the token in memory, may be of another account. The caller holds the lock.
        """
        if flight.considers and (self.flying is not None or self.serving(None) is not None):
            flight.is_apart = True
            self.considering = flight
        else:
            self.flight = flight

    def raise_known_failure(self) -> None:
        """Raise the failure of a moment ago again, since another try would fail, too."""
        if self.failed is not None and self.clock.monotonic() < self.failed[1]:
            raise self.failed[0].fresh() from self.failed[0]

    def new_flight(self, refused: Token | None, loop: object, target: Target | None = None) -> Flight[Outcome]:
        """Make a flight. The caller holds the lock, and registers the flight itself.

        So the caller has the flight at hand where a signal interrupts the registration.
        """
        identity = self.identity_of(refused) if refused is not None else None
        if self.held.token is not None and self.held.token.identity == identity:
            self.held = NOTHING  # refused: other callers wait for the next token
        where = self.refused_at(identity, target) if identity is not None else None
        return Flight(refused=identity, refused_at=where, loop=loop)

    def replayed(self, token: Token, *, accepted: bool, target: Target | None = None) -> bool:
        """Remember whether the API accepted a replay with this token; whether the record has to say so, too.

        `target`: where it was sent, if that is known.
        """
        with self.lock:
            if self.known is None or self.known.identity != token.identity:
                return False
            now, is_first, takers = self.clock.monotonic(), None, self.takers_of(token.identity)
            if target is not None:
                self.takers = takers.with_(target) if accepted else takers.without(target)
                is_first = self.takers is not takers
            self.acceptance, is_news = self.acceptance.replayed(token, now, accepted=accepted, is_first=is_first)
        return is_news

    def logged_in(self, outcome: Outcome, before: Token | None) -> None:
        """Take in the outcome of a login here. `before`: the newest token that was known when the login began."""
        with self.lock:
            self.epoch += 1
            known = self.known
            # A token that was learned since may belong to a later login.
            if known is None or known is before or known.generation <= outcome.token.generation:
                self.adopt(outcome, self.epoch, is_login=True)
            self.failed = None

    def found(self, outcome: Outcome) -> None:
        """Take in a token that a login has found in the store, whose session goes on."""
        with self.lock:
            if self.known is None or self.known.identity != outcome.token.identity:
                self.adopt(outcome, self.epoch)

    # --- Results of renewals, and forks of the process ---

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has the token and none of the threads: no flight, and a new lock."""
        self.lock = Lock()
        self.jitter = CHANCE.random()
        self.considering = None
        flight, self.flight, self.leased, self.under_way = self.flight, None, None, None
        if flight is not None and flight.refused is not None and self.held is NOTHING and self.known is not None:
            self.held = cached_for(self.known, self.jitter, self.timing)
        was_watched, self.watched = self.watched, False
        if was_watched:
            self.look_with_the_next_call()

    @property
    def needs_looks(self) -> bool:
        """Whether other processes share the store, so that this process checks what the store still has."""
        return is_shared(self.store) and self.save is None

    def look_with_the_next_call(self) -> None:
        """Let the next call start the background look: until then the token does not count as fresh."""
        if not self.watched and self.held.token is not None:
            self.held = CachedToken(self.held.token, -math.inf, self.held.unusable_at)

    def sends(self, run: object, leased: Record) -> None:
        """Note that a renewal sends the refresh token of the record `leased`."""
        with self.lock:
            self.under_way = {**(self.under_way or {}), run: leased.identity}

    def learns(self, record: Record, epoch: int, skew: float = 0.0) -> None:
        """Remember the record's token, although no caller has got it.

        If the store loses the record, an older copy must not take its place. `epoch`: the epoch in which this work
        began. `skew`: seconds by which this machine's clock is ahead of the token's.
        """
        token = record.token
        with self.lock:
            if epoch == self.epoch and token is not None and not self._has_newer(token):
                self._goes_on_with(token, record.families[:-1])
            if token is not None and self.known is not None and self.known.identity == token.identity:
                self._is_dated(skew)

    def is_over(self, run: object) -> None:
        """Note that what the renewal has sent is answered or given up."""
        if self.under_way is not None:
            with self.lock:
                left = {other: sent for other, sent in (self.under_way or {}).items() if other is not run}
                self.under_way = left or None

    def no_more_waits_under(self, leased: Record | None) -> None:
        """Stop restoring this claim: its request is answered, or other processes may have taken over."""
        if self.leased is not None and self.leased.record is leased:
            self.leased = None

    def adopt(self, outcome: Outcome, epoch: int, *, is_login: bool = False) -> None:
        """Take an outcome into memory, unless something newer is there.

        That may be a login or logout elsewhere, too, if the outcome is the late answer to an earlier request.
        """
        token, known = outcome.token, self.known
        same_family = known is not None and token.family == known.family
        if not same_family and epoch != self.epoch:
            return
        if same_family and known is not None and token.generation < known.generation:
            return
        names_known = known is not None and known.family in outcome.earlier
        if outcome.renewed and self._has_gone_over_from(token.family) and not (names_known or is_login):
            return
        if outcome.renewed or (known is not None and known.identity != token.identity):
            self.follows = not outcome.renewed
        self._goes_on_with(token, outcome.earlier)
        self.failed = None
        self._is_dated(outcome.skew)
        held = cached_for(token, self.jitter, self.timing)
        # An ageing token is renewed with the next call, whatever brought it, unless that was tried just now.
        if outcome.retry_after or (outcome.renewed and held.refresh_at <= self.clock.time()):
            soon = self.clock.time() + max(outcome.retry_after, LOOK_AGAIN)
            held.refresh_at = min(max(held.refresh_at, soon), held.unusable_at)
        self.held = held
        self.acceptance = self.acceptance.of(outcome, self.clock.monotonic())

    def forget(self) -> None:
        """Forget the session in memory, which is over."""
        with self.lock:
            self.epoch += 1
            self._ends()
            self.held, self.failed, self.follows = NOTHING, None, False
            self.acceptance, self.takers = UNTRIED, None
            self.watched = False  # where nothing is known, there is nothing to look for

    def _has_moved(self, generation: int) -> None:
        """Forget a session that goes on in another store, where others renew it; its access token serves to its end."""
        if self.known is not None and self.known.generation <= generation:
            self._ends()
            self.watched = False  # as in `forget`
        held = self.held
        if held.token is not None:
            refresh_at = min(max(held.refresh_at, self.clock.time() + LOOK_AGAIN), held.unusable_at)
            self.held = CachedToken(held.token, refresh_at, held.unusable_at)

    def give_up(self, error: errors.OnerefreshError) -> None:
        """Remember a failure for a moment. After an outage, a token that has not expired stays in use."""
        now = self.clock.monotonic()
        if isinstance(error, errors.LoginRequired):
            self.held = NOTHING
            is_later = self.known is not None and (error.generation or 0) > self.known.generation
            if self.known is not None and is_later and (error.proven or not self.sightings.doubts(self.known.family)):
                self._ends()  # there was a login or logout
                self.watched = False  # nothing is known now, as in `forget`
            self.failed = (error, now + LOOK_AGAIN)
            return
        if isinstance(error, errors.CredentialMoved):
            self._has_moved(error.generation or 0)
            self.failed = (error, now + LOOK_AGAIN)
            return
        retry_after = getattr(error, "retry_after", None) or LOOK_AGAIN
        if isinstance(error, errors.RefreshUnavailable):
            self.failed = (error, now + min(retry_after, LOOK_AGAIN))
        if self.known is not None and not isinstance(error, errors.SaveFailed):
            held = cached_for(self.known, self.jitter, self.timing)
            held.refresh_at = min(max(held.refresh_at, self.clock.time() + retry_after), held.unusable_at)
            self.held = held
