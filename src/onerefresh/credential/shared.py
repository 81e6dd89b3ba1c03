"""What all objects of one name on one store have in common in this process: the token in memory, and the flight."""

from __future__ import annotations

import math
import random
import threading
import time
import weakref
from typing import Protocol

from onerefresh import errors
from onerefresh.flight import Flight
from onerefresh.policy import windows
from onerefresh.renewal.protocol import Outcome
from onerefresh.renewal.sightings import Sightings
from onerefresh.store import Store, cleaned_after_fork
from onerefresh.token import Token

__all__ = ["LOOK_AGAIN", "NOTHING", "SPREAD", "Clock", "Held", "Shared", "flights_of", "held_for", "shared_of"]

LOOK_AGAIN = 1.0
"""Seconds between two looks at a record that had nothing better to offer."""

NONE_TOLD: frozenset[str] = frozenset()
"""The one empty set for all: each of its own would cost as much as the rest of a `Shared`."""

SPREAD = random.random()
"""This process's share of jitter: replicas of one program differ in it."""


class Clock(Protocol):
    """The module `time`, or what a simulation puts in its place."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that nobody sets."""


class Held:
    """The token in memory: fresh until `ages_at`, usable until `ends_at` (seconds since the epoch)."""

    __slots__ = ("ages_at", "ends_at", "token")

    def __init__(self, token: Token | None, ages_at: float, ends_at: float) -> None:
        self.token = token
        self.ages_at = ages_at
        self.ends_at = ends_at


NOTHING = Held(None, -math.inf, -math.inf)


def held_for(token: Token, spread: float) -> Held:
    found = windows(token, spread)
    return Held(token, found.ages_at, found.ends_at)


class Shared:
    """What all objects of one name on one store have in common in this process: the token, and the flight."""

    __slots__ = (  # `held` is looked up for every request
        "__weakref__",
        "clock",
        "damped",
        "epoch",
        "failed",
        "flight",
        "follows",
        "held",
        "key",
        "known",
        "lock",
        "proven",
        "refused_replays",
        "rotation_told",
        "seeds_told",
        "sightings",
        "spread",
        "store",
        "unproven",
    )

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.key = key
        self.clock: Clock = time
        self.spread = SPREAD
        self.lock = threading.Lock()
        self.held = NOTHING
        self.flight: Flight[Outcome] | None = None
        self.follows = False  # whether another process refreshed the last time, as far as this one has seen
        self.sightings = Sightings()
        self.known: Token | None = None  # the newest token seen, whether it serves or not
        self.proven: tuple[str, int] | None = None
        self.unproven: Token | None = None
        self.refused_replays = 0
        self.epoch = 0  # one more with every login and logout here: what began before must not undo them
        self.seeds_told = NONE_TOLD  # fingerprints of the seeds that have had their hearing
        self.rotation_told = False
        self.failed: tuple[errors.OnerefreshError, float] | None = None  # until when, on the monotonic clock
        self.damped: tuple[tuple[str, int], float] | None = None

    def after_fork(self) -> None:
        """The child has the token, and none of the threads: no flight, and a lock that nobody holds."""
        self.lock = threading.Lock()
        self.spread = random.random()
        flight, self.flight = self.flight, None
        if flight is not None and flight.refused is not None and self.held is NOTHING and self.known is not None:
            self.held = held_for(self.known, self.spread)

    def adopt(self, outcome: Outcome, epoch: int) -> None:
        """Take the outcome into memory, unless something newer is there."""
        token, known = outcome.token, self.known
        same_family = known is not None and token.family == known.family
        if not same_family and epoch != self.epoch:
            return
        if same_family and known is not None and token.generation < known.generation:
            return
        if outcome.renewed or (known is not None and known.identity != token.identity):
            self.follows = not outcome.renewed
        self.known, self.failed = token, None
        held = held_for(token, self.spread)
        if outcome.ask_again or held.ages_at <= self.clock.time():
            soon = self.clock.time() + max(outcome.ask_again, LOOK_AGAIN)
            held.ages_at = min(max(held.ages_at, soon), held.ends_at)
        self.held = held
        probation = outcome.probation
        self.refused_replays = probation.refusals if probation else 0
        waits = probation is not None and not probation.by_refusal and self.proven != token.identity
        self.unproven = token if waits else None
        self.damped = (token.identity, self.clock.monotonic() + LOOK_AGAIN) if outcome.damped else None

    def forget(self) -> None:
        """The session that is in memory is over."""
        with self.lock:
            self.epoch += 1
            self.held, self.known, self.failed, self.follows = NOTHING, None, None, False
            self.proven = self.unproven = self.damped = None

    def give_up(self, error: errors.OnerefreshError) -> None:
        """Remember a failure for a moment; an outage leaves a token that has not expired in use."""
        now = self.clock.monotonic()
        if isinstance(error, errors.LoginRequired):
            self.held = NOTHING
            if self.known is not None and (error.generation or 0) > self.known.generation:
                self.known = None  # somebody logged out: what is in memory must never come back
            self.failed = (error, now + LOOK_AGAIN)
            return
        retry_after = getattr(error, "retry_after", None) or LOOK_AGAIN
        if isinstance(error, errors.RefreshUnavailable):
            self.failed = (error, now + min(retry_after, LOOK_AGAIN))
        if self.known is not None and not isinstance(error, errors.SaveFailed):
            held = held_for(self.known, self.spread)
            held.ages_at = min(max(held.ages_at, self.clock.time() + retry_after), held.ends_at)
            self.held = held


class _Registry:
    """Every `Shared` that somebody uses, by store and key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: weakref.WeakValueDictionary[tuple[int, str], Shared] = weakref.WeakValueDictionary()
        cleaned_after_fork(self)

    def find(self, store: Store, key: str) -> Shared:
        with self._lock:
            found = self._known.get((id(store), key))
            if found is None:
                found = self._known[id(store), key] = Shared(store, key)
            return found

    def flights(self, store: Store) -> list[Flight[Outcome]]:
        """Those under way on this store, whoever began them, and whether their objects are still there or not."""
        with self._lock:
            known = list(self._known.values())
        flights = (shared.flight for shared in known if shared.store is store)
        return [flight for flight in flights if flight is not None and not flight.settled]

    def after_fork(self) -> None:
        global SPREAD
        self._lock = threading.Lock()
        SPREAD = random.random()
        for shared in list(self._known.values()):
            shared.after_fork()


_registry = _Registry()


def shared_of(store: Store, key: str) -> Shared:
    """What all objects of this name on this store have in common."""
    return _registry.find(store, key)


def flights_of(store: Store) -> list[Flight[Outcome]]:
    """The renewals that are under way on this store."""
    return _registry.flights(store)
