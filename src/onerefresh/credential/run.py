"""One renewal under way in this process: what it knows, and how what it brings gets into memory."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from onerefresh import errors
from onerefresh.credential.aftercare import aftercare
from onerefresh.credential.notices import tell_rotation, tell_type
from onerefresh.credential.registry import is_under_way, known_of
from onerefresh.credential.shared import Shared
from onerefresh.credential.terms import Terms
from onerefresh.credential.watch import begin_to_watch
from onerefresh.flight import Flight
from onerefresh.latches import Alarm
from onerefresh.record import Record
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.clocks import Sent
from onerefresh.renewal.known import Known
from onerefresh.runner import Run, Runner
from onerefresh.token import Token

__all__ = ["CredentialRun"]


class CredentialRun(Run):
    """One renewal, or one command, of a credential. `flight`: the one whose waiters get its next answer.

    `epoch`: that of the memory when it began: what began before a login or logout here must not undo it. `renews`: it
    is no command. `seed`: the first token of the `Credential` that began it.
    """

    __slots__ = ("_seed", "_shared", "_terms", "epoch", "flight", "renews")

    def __init__(
        self, shared: Shared, terms: Terms, seed: Token | None, flight: Flight[Any], *, renews: bool = True
    ) -> None:
        self._shared, self._terms, self._seed = shared, terms, seed
        self.flight, self.renews, self.epoch = flight, renews, shared.epoch

    def runner(self) -> Runner:
        """Its world."""
        shared, terms = self._shared, self._terms
        return Runner(shared.key, shared.store, self, terms.functions, home=self.flight.home, turns=terms.turns)

    # --- What it knows ---

    def tokens(self) -> Iterable[Token | None]:
        return self._shared.known, self._shared.unsaved, self._seed

    def known(self) -> Known:
        return known_of(self._shared)

    def learn(self, record: Record) -> None:
        if self.renews and record.token is not None:
            self._shared.learns(record, self.epoch)
            begin_to_watch(self._shared)

    def is_under_way(self, identity: tuple[str, int]) -> bool:
        return self._terms.profile.rotates and is_under_way(self._shared, identity, self)

    # --- Those who wait for it ---

    @property
    def has_waiters(self) -> bool:
        return self.flight.wanted

    def report(self, phase: str) -> None:
        self.flight.phase = phase

    def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        if isinstance(answer, Outcome):
            if not self.flight.brought(answer):
                self._land(self.flight, outcome=answer)
        elif isinstance(answer, errors.OnerefreshError):
            flight = self.flight
            if unsaved is not None:
                self._follow(unsaved)
            self._land(flight, error=answer)
        elif unsaved is not None:
            self._remember(unsaved)

    def defer(self, runner: Runner, rest: Coroutine[Any, Any, None]) -> None:
        aftercare.look_after(runner, rest)

    @contextlib.contextmanager
    def sending(self, ttl: float, leased: Record | None) -> Iterator[None]:
        shared = self._shared
        if not self.renews:
            leased = None  # a login: it spends nothing of the record's
        if leased is not None:
            shared.leased = Sent(leased, shared.clock.monotonic())
            shared.sends(self, leased, self.epoch)
            begin_to_watch(shared)
        try:
            with self._overdue(ttl, leased):
                yield
        finally:
            shared.no_more_waits_under(leased)

    def is_over(self) -> None:
        """It has ended: another renewal may send what this one has sent."""
        self._shared.is_over(self)

    # --- Inside ---

    @contextlib.contextmanager
    def _overdue(self, ttl: float, leased: Record | None) -> Iterator[None]:
        """Fail the waiters of a refresher that does not return within `ttl` seconds; a late result still counts."""
        flight = self.flight

        def fail() -> None:
            self._shared.no_more_waits_under(leased)
            said = f"the refresher has not returned for {ttl:.0f} s"
            self._land(flight, error=errors.RefreshOutcomeUnknown(said, credential=self._shared.key))

        try:
            alarm = Alarm(ttl, fail)
        except RuntimeError:  # the interpreter is ending: nobody waits any more
            yield
            return
        try:
            yield
        finally:
            alarm.cancel()

    def _remember(self, unsaved: Token) -> bool:
        """The newest token is saved nowhere yet; False where somebody has logged in or out since."""
        with self._shared.lock:
            if self.epoch == self._shared.epoch:
                self._shared.unsaved = unsaved
            return self.epoch == self._shared.epoch

    def _follow(self, unsaved: Token) -> None:
        """A new token is saved nowhere: callers who come later wait for that, and none spends the one before it.

        Where somebody has logged in or out since, the token is of no use to anybody.
        """
        shared, flight = self._shared, self.flight
        following: Flight[Outcome] = Flight(refused=flight.refused, home=flight.home)
        following.begin()
        following.started()
        if not self._remember(unsaved):
            return
        with shared.lock:
            if shared.flight is flight or shared.flight is None or shared.flight.settled:
                shared.flight = following
        self.flight = following

    def _land(
        self, flight: Flight[Any], *, outcome: Outcome | None = None, error: errors.OnerefreshError | None = None
    ) -> None:
        """Take a result into memory, then wake those who wait for it."""
        shared = self._shared
        with shared.lock:
            before = shared.known
            if shared.flight is flight:
                shared.flight = None
            if self._seed is not None:
                shared.seeds_told |= {self._seed.seed_fingerprint()}
            if outcome is not None:
                shared.adopt(outcome, self.epoch)
                shared.owner = self._terms.owner or shared.owner
            elif error is not None and self.epoch == shared.epoch and not flight.lost_its_loop:
                shared.give_up(error)
        flight.settle(outcome, error)
        if outcome is not None:
            begin_to_watch(shared)
            tell_type(shared, self._terms, outcome.token)
            if before is not None:
                tell_rotation(shared, before, outcome.token)
