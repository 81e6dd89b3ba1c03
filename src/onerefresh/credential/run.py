"""One renewal under way in this process: what it knows, and how its result gets into memory."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from onerefresh import errors
from onerefresh.credential.background import background_tasks
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.notices import report_rotation, report_timeout, report_type
from onerefresh.credential.options import CredentialOptions
from onerefresh.credential.registry import free, is_under_way, keep, known_of, release, reserves
from onerefresh.credential.watch import begin_to_watch
from onerefresh.flight import Flight
from onerefresh.move_run import MoveRun
from onerefresh.record import Record
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.clocks import Sent
from onerefresh.renewal.known import Known
from onerefresh.run import Resumable, Run
from onerefresh.runner import Runner
from onerefresh.store import Store
from onerefresh.timekeeper import Alarm
from onerefresh.token import Token

__all__ = ["CredentialRun"]


class CredentialRun(Run):
    """One renewal, or one command, of a credential.

    * `flight`: its callers get the next result.
    * `epoch`: the memory's epoch at the beginning. What began before a login or logout here must not undo it.
    * `renews`: this is a renewal, and no command.
    * `seed`: the first token of the `Credential` that began the run.
    """

    __slots__ = ("_memory", "_options", "epoch", "flight", "renews", "seed")

    def __init__(
        self,
        memory: SessionMemory,
        options: CredentialOptions,
        seed: Token | None,
        flight: Flight[Any],
        *,
        renews: bool = True,
    ) -> None:
        self._memory, self._options, self.seed = memory, options, seed
        self.flight, self.renews, self.epoch = flight, renews, memory.epoch

    def runner(self) -> Runner:
        """The `World` of this run."""
        memory, options = self._memory, self._options
        return Runner(
            memory.key,
            memory.store,
            self,
            options.functions,
            loop=self.flight.loop,
            turns=options.turns,
            patience=options.patience,
        )

    def runner_in(self, store: Store) -> Runner:
        """The `World` of the same credential in another store, from which it is moved."""
        run = MoveRun(store, caller=self)
        return Runner(self._memory.key, store, run, self._options.functions, loop=self.flight.loop)

    # --- Memory of the process ---

    def tokens(self) -> Iterable[Token | None]:
        return self._memory.known, self._memory.unsaved, self.seed

    def known(self) -> Known:
        return known_of(self._memory)

    def learn(self, record: Record, skew: float) -> None:
        if self.renews and record.token is not None:
            self._memory.learns(record, self.epoch, skew)
            begin_to_watch(self._memory)

    def is_under_way(self, identity: tuple[str, int]) -> bool:
        if not self._options.profile.rotates:
            return False
        return is_under_way(self._memory, identity, self) or not reserves(self._memory, identity, self)

    # --- Callers ---

    @property
    def has_waiters(self) -> bool:
        return self.flight.has_waiters

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

    def defer(self, world: Resumable, rest: Coroutine[Any, Any, None]) -> None:
        background_tasks.look_after(world, rest)

    @contextlib.contextmanager
    def sending(self, ttl: float, claim: Sent | None) -> Iterator[None]:
        memory = self._memory
        leased = None
        if claim is not None and self.renews:  # a login spends nothing that is in the record
            memory.leased, leased = claim, claim.record
            memory.sends(self, leased)
        try:
            with self._overdue(ttl, leased):
                yield
        finally:
            memory.no_more_waits_under(leased)

    def is_over(self) -> None:
        """Note that this run has ended: another renewal may send what this one has sent."""
        self._memory.is_over(self)
        free(self)

    # --- Internals ---

    @contextlib.contextmanager
    def _overdue(self, ttl: float, leased: Record | None) -> Iterator[None]:
        """Fail the callers of a refresher that does not return within `ttl` seconds; a late result still counts."""
        flight = self.flight

        def fail() -> None:
            self._memory.no_more_waits_under(leased)
            message = f"the refresher has not returned for {ttl:.0f} s"
            error = errors.RefreshOutcomeUnknown(message, credential=self._memory.key)
            self._land(flight, error=error)
            report_timeout(self._memory.key, self._options.refresher, error, ttl)

        try:
            alarm = Alarm(ttl, fail)
        except RuntimeError:  # the interpreter is ending: no caller waits any more
            yield
            return
        try:
            yield
        finally:
            alarm.cancel()

    def _remember(self, unsaved: Token) -> bool:
        """Remember a new token that is saved nowhere yet; False where a login or logout has come since."""
        with self._memory.lock:
            is_newest = self.epoch == self._memory.epoch
            if is_newest:
                self._memory.cannot_save(unsaved)
        if is_newest:
            keep(self._memory)
        return is_newest

    def _follow(self, unsaved: Token) -> None:
        """Let later callers wait for a new token that is saved nowhere yet, so that none spends the one before it.

        After a login or logout, that token is of no use to anybody.
        """
        memory, flight = self._memory, self.flight
        following: Flight[Outcome] = Flight(refused=flight.refused, refused_at=flight.refused_at, loop=flight.loop)
        following.begins_with(flight)
        following.started()
        if not self._remember(unsaved):
            return
        with memory.lock:
            if memory.flight is flight or memory.flight is None or memory.flight.settled:
                memory.flight = following
        self.flight = following

    def _land(
        self, flight: Flight[Any], *, outcome: Outcome | None = None, error: errors.OnerefreshError | None = None
    ) -> None:
        """Take a result into memory, then wake the callers that wait for it."""
        memory = self._memory
        with memory.lock:
            before = memory.known
            if memory.flight is flight:
                memory.flight = None
            if memory.considering is flight:
                memory.considering = None
            if self.seed is not None:
                memory.reported |= {self.seed.seed_fingerprint()}
                if outcome is not None and self.renews:
                    memory.seeds_considered |= {self.seed.seed_fingerprint()}
            if outcome is not None:
                memory.adopt(outcome, self.epoch)
                memory.owner = self._options.owner or memory.owner
            elif error is not None and self.epoch == memory.epoch and not flight.says_little:
                memory.give_up(error)
        flight.settle(outcome, error)
        if outcome is not None:
            release(memory)
            begin_to_watch(memory)
            report_type(memory, self._options, outcome.token)
            if before is not None:
                report_rotation(memory, self._options, before, outcome.token)
