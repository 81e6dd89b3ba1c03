"""When a token endpoint is left alone, because it does not answer or has asked for a pause.

Each tenant of a backend would otherwise find out alone that a provider is down, and would ask it in spite of the pause
that others were told. What one process has seen is shared by all its credentials of the same host and client. It is not
shared between processes: a record of it in the store would cost every renewal one more read, and each process needs
only three requests to find out.

A circuit is a pure value of this room, except for `circuits`, which holds those of this process.
"""

from __future__ import annotations

from onerefresh.locks import Lock
from onerefresh.policy import LONGEST_RETRY_AFTER
from onerefresh.real_time import monotonic
from onerefresh.store import reset_in_child
from onerefresh.verdict import FailureKind, Verdict

__all__ = ["Circuit", "Circuits", "circuits", "is_answer"]

LEAST = 3
"""Credentials that must have failed before the endpoint is left alone."""
SILENT = 30.0
"""Seconds without any answer before the endpoint is left alone: many tenants may hang while others are served."""
TOLD = 2
"""Credentials that must have been told to wait before all others wait, too: one may have a limit of its own."""
SHORTEST, LONGEST = 5.0, 60.0
"""Seconds for which it is left alone at first, doubled each time that it still does not answer, and at most."""
PROBE = 30.0
"""Seconds after which another credential may ask, where the one that was to find out has brought no result."""
FORGOTTEN = 600.0
"""Seconds without a request after which its failures count no longer."""
SWEPT_AT = 100
"""How many endpoints have failed, at least, before those are forgotten whose failures count no longer."""
_NO_ANSWER = frozenset({FailureKind.UNAVAILABLE, FailureKind.SERVER_ERROR, FailureKind.NO_ANSWER})
_NEUTRAL = frozenset({FailureKind.CONFIGURATION, FailureKind.REFRESHER, FailureKind.PROTOCOL})


def is_answer(verdict: Verdict | None) -> bool:
    """Whether the token endpoint did its work, whatever it answered; None: it gave a token."""
    return verdict is None or verdict.kind not in _NO_ANSWER | _NEUTRAL


class Circuit:
    """What is known of one endpoint that has failed. All times are seconds on one monotonic clock."""

    __slots__ = (
        "_failed",
        "_last",
        "_open_until",
        "_pause",
        "_permitted",
        "_probe_until",
        "_prober",
        "_since",
        "_told",
        "_told_until",
    )

    def __init__(self, now: float) -> None:
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = self._last = now  # the first and the last failure since it has answered
        self._failed: set[str] = set()  # `LEAST` of them at most
        self._told: dict[str, float] = {}  # until when each credential was told to wait
        self._told_until = now  # until when all wait because several were told to
        self._pause, self._open_until, self._probe_until = 0.0, now, now
        self._prober: str | None = None  # the credential that is to find out
        self._permitted: str | None = None  # the one that a person has told to ask

    @property
    def is_open(self) -> bool:
        """Whether it is left alone because it does not answer."""
        return self._pause > 0.0

    def left(self, now: float, key: str) -> float:
        """Seconds until the credential `key` may ask; 0.0: now.

        Where the endpoint does not answer, only the credential that gets 0.0 may ask, until `failed` or `withdraw`.
        """
        if self._permitted == key:
            self._permitted, self._prober, self._probe_until = None, key, now + PROBE
        if self._prober == key and now < self._probe_until:
            return 0.0
        until = self._told_until
        if self.is_open:
            until = max(until, self._open_until, self._probe_until)
            if until <= now:
                self._prober, self._probe_until = key, now + PROBE
        return max(until - now, 0.0)

    def says_nothing(self, now: float) -> bool:
        """Whether it may be forgotten: its failures count no longer, and nobody waits because of it."""
        return now - self._last > FORGOTTEN and not self.is_open and not self.leaves_alone(now)

    def failing_for(self, now: float) -> float:
        """Seconds since the first failure after the last answer."""
        return now - self._since

    def leaves_alone(self, now: float) -> bool:
        """Whether most credentials may not ask now."""
        return now < max(self._told_until, self._open_until, self._probe_until)

    def is_asked(self, now: float) -> bool:
        """Whether a credential is finding out just now, so that all may be allowed to ask at any moment."""
        return max(self._open_until, self._told_until) <= now < self._probe_until

    def permit(self, key: str) -> None:
        """Let `key` ask once, whatever is known."""
        self._permitted = key

    def withdraw(self, key: str | None) -> None:
        """Let another credential ask, if `key` was the one that was to do it: it did not have to."""
        if self._prober == key:
            self._prober, self._probe_until = None, self._open_until

    def failed(self, key: str, now: float, retry_after: float | None) -> bool:
        """Note that a request for `key` was not answered, or put off; whether it is left alone from now on."""
        if now - self._last > FORGOTTEN:
            self._begin(now)
        self._last = now
        if len(self._failed) < LEAST:
            self._failed.add(key)
        pause = min(retry_after or 0.0, LONGEST_RETRY_AFTER)
        if pause:
            self._told = {told: until for told, until in self._told.items() if until > now}
            self._told[key] = now + pause
            if len(self._told) >= TOLD:  # as long as so many have to wait, and not as long as any one of them
                self._told_until = sorted(self._told.values())[-TOLD]
        was_open = self.is_open
        if not was_open and len(self._failed) >= LEAST and now - self._since >= SILENT:
            self._pause = SHORTEST
        elif was_open and now >= self._open_until:  # the one that was to find out has failed
            self._pause = min(2.0 * self._pause, LONGEST)
        if self.is_open:
            # What one alone is told may be its own limit, and must not keep all others from asking for an hour.
            self._open_until = max(self._open_until, now + max(self._pause, min(pause, LONGEST)))
            self._prober, self._probe_until = None, self._open_until
        return self.is_open and not was_open


class Circuits:
    """The circuits of this process, by host and client. `_lock` guards them; none is kept for what answers."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._circuits: dict[tuple[str, str | None], Circuit] = {}
        self._sweep_at = SWEPT_AT
        reset_in_child(self)

    def left(self, place: tuple[str, str | None], key: str) -> float:
        """As `Circuit.left`."""
        if place not in self._circuits:
            return 0.0
        with self._lock:
            circuit = self._circuits.get(place)
            return circuit.left(monotonic(), key) if circuit is not None else 0.0

    def failing_for(self, place: tuple[str, str | None]) -> float | None:
        """As `Circuit.failing_for`; None where it has not failed since it answered."""
        circuit = self._circuits.get(place)
        return circuit.failing_for(monotonic()) if circuit is not None else None

    def leaves_alone(self, place: tuple[str, str | None]) -> bool:
        """As `Circuit.leaves_alone`."""
        circuit = self._circuits.get(place)
        return circuit is not None and circuit.leaves_alone(monotonic())

    def is_asked(self, place: tuple[str, str | None]) -> bool:
        """As `Circuit.is_asked`."""
        circuit = self._circuits.get(place)
        return circuit is not None and circuit.is_asked(monotonic())

    def why(self, place: tuple[str, str | None]) -> str:
        """Why the endpoint is left alone."""
        if self.is_open(place):
            return f"the token endpoint at {place[0]} has not answered any of several credentials"
        return f"the token endpoint at {place[0]} has told several credentials to wait"

    def is_open(self, place: tuple[str, str | None]) -> bool:
        """As `Circuit.is_open`."""
        circuit = self._circuits.get(place)
        return circuit is not None and circuit.is_open

    def withdraw(self, place: tuple[str, str | None], key: str) -> None:
        """As `Circuit.withdraw`."""
        if place not in self._circuits:
            return
        with self._lock:
            if (circuit := self._circuits.get(place)) is not None:
                circuit.withdraw(key)

    def permit(self, place: tuple[str, str | None], key: str) -> None:
        """As `Circuit.permit`."""
        with self._lock:
            if (circuit := self._circuits.get(place)) is not None:
                circuit.permit(key)

    def settles(self, place: tuple[str, str | None], key: str, verdict: Verdict | None) -> bool | None:
        """Note how a request ended; None: with a token.

        Returns True where the endpoint is left alone from now on, False where it was and is no longer, else None.
        """
        if verdict is not None and verdict.kind in _NEUTRAL:
            return None
        if verdict is None or is_answer(verdict):
            if place not in self._circuits:
                return None
            with self._lock:
                circuit = self._circuits.pop(place, None)
            return False if circuit is not None and circuit.is_open else None
        now = monotonic()
        with self._lock:
            circuit = self._circuits.get(place)
            if circuit is None:
                self._sweep(now)
                circuit = self._circuits[place] = Circuit(now)
            return circuit.failed(key, now, verdict.retry_after) or None

    def _sweep(self, now: float) -> None:
        """Forget endpoints of which nothing is heard any more, now and then. The caller holds the lock."""
        if len(self._circuits) >= self._sweep_at:
            self._circuits = {place: one for place, one in self._circuits.items() if not one.says_nothing(now)}
            self._sweep_at = 2 * len(self._circuits) + SWEPT_AT

    def clear(self) -> None:
        """Forget all of them."""
        self._circuits = {}

    def after_fork(self) -> None:
        """A child needs a lock of its own. What is known of the endpoints stays, but nobody here is finding out."""
        self._lock = Lock()
        for circuit in self._circuits.values():
            circuit.withdraw(circuit._prober)


circuits = Circuits()
