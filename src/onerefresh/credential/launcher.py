"""Runs renewals and a person's commands on threads of their own, and brings their results into memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from onerefresh import errors, events
from onerefresh import transitions as records
from onerefresh.credential.aftercare import aftercare
from onerefresh.credential.registry import is_shared, is_under_way, newest_known
from onerefresh.credential.shared import Shared, held_for
from onerefresh.credential.terms import Terms
from onerefresh.credential.watch import watch
from onerefresh.flight import Flight, running_loop
from onerefresh.foreign import Seen
from onerefresh.latches import Alarm, finalizing, interpreter_ends, refuse_inside, start
from onerefresh.policy import recovery_time
from onerefresh.record import Record
from onerefresh.record_text import encode
from onerefresh.redaction import Redactor
from onerefresh.renewal import renew
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import NotSent, Sent, World
from onerefresh.runner import Runner
from onerefresh.token import Token, odd_type

__all__ = ["Launcher", "Run", "refuse_at_the_end"]

T = TypeVar("T")


class Launcher:
    """What one `Credential` object brings to a flight: its terms and its seed."""

    __slots__ = ("_key", "_seed", "_shared", "_terms")

    def __init__(self, key: str, shared: Shared, terms: Terms, seed: Token | None) -> None:
        self._key = key
        self._shared = shared
        self._terms = terms
        self._seed = seed
        shared.seed, shared.save = seed or shared.seed, terms.save
        if shared.known is None:  # else the token that is in memory is another one's, perhaps
            shared.owner = terms.owner or shared.owner

    def request(
        self,
        refused: tuple[str, int] | None = None,
        *,
        ageing: bool = False,
        within: float | None = None,
        run: Run | None = None,
    ) -> RenewalRequest:
        """What this credential asks of a renewal now; `run`: of this one."""
        shared, terms = self._shared, self._terms
        return RenewalRequest(
            key=self._key,
            profile=terms.profile,
            http_timeout=terms.http_timeout,
            spread=shared.spread,
            refused=refused,
            ageing=ageing,
            within=within,
            seed=self._seed,
            seed_told=self._seed is None or self._seed.seed_fingerprint() in shared.seeds_told,
            can_obtain=terms.obtain is not None,
            renews_from_access=terms.renews_from_access,
            host_saves=terms.save is not None,
            sightings=shared.sightings,
            look_again=lambda: shared.store.may_go_back,
            recovery=lambda: recovery_time(may_go_back=shared.store.may_go_back) if is_shared(shared.store) else 0.0,
            earlier=lambda: shared.earlier,
            owner=terms.owner,
            adopts=terms.adopts,
            keeps=shared.owner,
            known=newest_known(shared),
            proven=shared.proven,
            newest=lambda: newest_known(shared),
            client=terms.client,
            gives_way=self._gives_way() if refused else 0.0,
            is_under_way=lambda identity: terms.profile.rotates and is_under_way(shared, identity, run),
            learns=lambda record: self._learns(record, run),
        )

    def _learns(self, record: Record, run: Run | None) -> None:
        if run is not None and record.token is not None:
            self._shared.learns(record, run.epoch)
            self.begin_to_watch()

    def begin_to_watch(self) -> None:
        """Look in the background, from now on, whether the store still has what this process knows."""
        if is_shared(self._shared.store) and self._terms.save is None:
            watch.learned(self._shared)
            if not self._shared.watched and not interpreter_ends():  # no thread could start
                with self._shared.lock:
                    self._shared.look_with_the_next_call()

    def give_up_what_hangs(self) -> None:
        """Let the next renewal send beside those whose refreshers have not returned in time."""
        shared = self._shared
        for run in [run for run in shared.under_way or () if isinstance(run, Run) and run.flight.settled]:
            shared.is_over(run)

    def _gives_way(self) -> float:
        """Seconds: who refreshed the last time is let go first, and each of the others has a time of its own."""
        shared = self._shared
        return shared.store.head_start * (1.0 + shared.spread) / 2.0 if shared.follows else 0.0

    def adopt_seed_now(self) -> None:
        """For a store in memory, which needs no waiting: the seed serves at once."""
        shared = self._shared
        with shared.lock:
            if self._seed is None or shared.store.load(self._key) is not None:
                return
            request = self.request()
            record = records.new_session(None, self._seed, now=shared.clock.time(), owner=request.signs, what="seed")
            shared.store.cas(self._key, None, encode(record))
            assert record.token is not None
            shared.known, shared.held = record.token, held_for(record.token, shared.spread)
        self.tell_type(record.token)

    def launch(self, flight: Flight[Outcome], *, ageing: bool, within: float | None = None) -> None:
        """Start the renewal of a flight that is registered. A second call changes nothing."""
        run = Run(self, flight)

        def work() -> None:
            if not flight.begin():
                return
            try:
                request = self.request(flight.refused, ageing=ageing, within=within, run=run)
                run.publish(self._runner(run).run(lambda world: renew.renew(world, request)))
            except NotSent as error:
                flight.lost_its_loop = self._terms.loop is None
                run.publish(errors.RefreshUnavailable(error.message).about(self._key))
            except errors.OnerefreshError as error:
                run.publish(error.about(self._key))
            except BaseException as error:  # a defect of ours or of a store: the waiters must hear of it
                run.publish(_unforeseen(error, self._key))
                raise
            finally:
                self._shared.is_over(run)

        try:
            _on_a_thread(work, self._key, never_here=ageing and within is None)
        except errors.OnerefreshError as error:
            run.publish(error)
        flight.started()  # not after an interrupt: then it is still this thread's to start

    def run_apart(self, work: Callable[[World], Coroutine[Any, Any, T]], home: object) -> Flight[T]:
        """Run a command beside the renewals, on a thread of its own; nobody else waits for it.

        Raises `Reentered` where nothing can be waited for, and `CredentialClosed` where nothing can begin any more.
        """
        refuse_inside()
        refuse_at_the_end(self._key)
        flight: Flight[T] = Flight(home=home)
        runner = self._runner(Run(self, flight, renews=False))

        def run() -> None:
            flight.begin()
            try:
                flight.settle(runner.run(work))
            except errors.OnerefreshError as error:
                flight.settle(None, error.about(self._key))
            except BaseException as error:  # as above
                flight.settle(None, _unforeseen(error, self._key))
                raise

        try:
            _on_a_thread(run, self._key)
        except errors.OnerefreshError as error:
            flight.settle(None, error)
        return flight

    def _publish(self, flight: Flight[Outcome], epoch: int, answer: object, unsaved: Token | None) -> Flight[Outcome]:
        """Give the waiters of `flight` their answer; the flight of those who come while the renewal goes on."""
        if isinstance(answer, Outcome):
            if not flight.brought(answer):
                self._land(flight, epoch, outcome=answer)
        elif isinstance(answer, errors.OnerefreshError):
            following = self._follow(flight, epoch, unsaved) if unsaved is not None else flight
            self._land(flight, epoch, error=answer)
            return following
        elif unsaved is not None:
            self._remember(epoch, unsaved)
        return flight

    def _remember(self, epoch: int, unsaved: Token) -> bool:
        """The newest token is saved nowhere yet; False where somebody has logged in or out since."""
        with self._shared.lock:
            if epoch == self._shared.epoch:
                self._shared.unsaved = unsaved
            return epoch == self._shared.epoch

    def _follow(self, flight: Flight[Outcome], epoch: int, unsaved: Token) -> Flight[Outcome]:
        """A renewal holds a new token that is saved nowhere: who comes later waits for it, and none spends the old one.

        Where somebody has logged in or out since, the token is of no use to anybody.
        """
        shared = self._shared
        following: Flight[Outcome] = Flight(refused=flight.refused, home=flight.home)
        following.begin()
        following.started()
        if not self._remember(epoch, unsaved):
            return flight
        with shared.lock:
            if shared.flight is flight or shared.flight is None or shared.flight.settled:
                shared.flight = following
        return following

    def _land(
        self,
        flight: Flight[Any],
        epoch: int,
        *,
        outcome: Outcome | None = None,
        error: errors.OnerefreshError | None = None,
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
                shared.adopt(outcome, epoch)
                shared.owner = self._terms.owner or shared.owner
            elif error is not None and epoch == shared.epoch and not flight.lost_its_loop:
                shared.give_up(error)
        flight.settle(outcome, error)
        if outcome is not None:
            self.begin_to_watch()
            self.tell_type(outcome.token)
        if outcome is not None and before is not None:
            self._tell_rotation(before, outcome.token)

    def tell_type(self, token: Token) -> None:
        """Say once that a token is sent as a bearer token although its server calls it otherwise."""
        name = None if self._shared.type_told else odd_type(token, self._redactor())
        if name is not None:
            self._shared.type_told = True
            said = f"its token_type is {name}; it is sent as a bearer token"
            events.publish(events.Event(events.Kind.ODD_TYPE, self._key, token.generation, detail=said))

    def _redactor(self) -> Redactor:
        known = filter(None, [self._shared.known, self._seed])
        return Seen(known, self._terms.refresher).redactor()

    def _tell_rotation(self, before: Token, after: Token) -> None:
        """Say once that a rotating server deserves a store that survives the process."""
        shared = self._shared
        rotated = before.refresh_token is not None and before.refresh_token != after.refresh_token
        if shared.store.durable or self._terms.save is not None or shared.rotation_told or not rotated:
            return
        shared.rotation_told = True
        said = f"the server rotates refresh tokens, and {shared.store.forgets}"
        events.publish(events.Event(events.Kind.NOT_DURABLE, self._key, after.generation, detail=said))

    def _runner(self, run: Run) -> Runner:
        return Runner(
            self._key,
            self._shared.store,
            refresher=self._terms.refresher,
            obtain=self._terms.obtain,
            save=self._terms.save,
            home=run.flight.home,
            publish=run.publish,
            overdue=lambda ttl, leased: self._sending(run, ttl, leased),
            wanted=lambda: run.flight.wanted,
            afterwards=aftercare.look_after,
            turns=self._terms.turns,
            at=lambda phase: setattr(run.flight, "phase", phase),
            known=filter(None, [self._shared.known, self._shared.unsaved, self._seed]),
        )

    @contextlib.contextmanager
    def _sending(self, run: Run, ttl: float, leased: Record | None) -> Iterator[None]:
        """While its request is on its way, the look in the background puts the claim back that the store has lost.

        Until `run` is over, no other renewal of this process sends the same refresh token.
        """
        shared, flight = self._shared, run.flight
        if not run.renews:
            leased = None  # a login: it spends nothing of the record's
        sent = Sent(leased, shared.clock.monotonic()) if leased is not None else None
        if leased is not None:
            shared.leased = sent
            shared.sends(run, leased, run.epoch)
            self.begin_to_watch()
        try:
            with self._overdue(flight, ttl, leased):
                yield
        finally:
            shared.no_more_waits_under(leased)

    @contextlib.contextmanager
    def _overdue(self, flight: Flight[Any], ttl: float, leased: Record | None) -> Iterator[None]:
        """Fail the waiters of a refresher that does not return within `ttl` seconds; a late result still counts."""
        epoch = self._shared.epoch

        def fail() -> None:
            self._shared.no_more_waits_under(leased)
            said = f"the refresher has not returned for {ttl:.0f} s"
            self._land(flight, epoch, error=errors.RefreshOutcomeUnknown(said, credential=self._key))

        try:
            alarm = Alarm(ttl, fail)
        except RuntimeError:  # the interpreter is ending: nobody waits any more
            yield
            return
        try:
            yield
        finally:
            alarm.cancel()


class Run:
    """One renewal under way. `flight`: the one whose waiters get its next answer; `renews`: it is no login."""

    __slots__ = ("_launcher", "epoch", "flight", "renews")

    def __init__(self, launcher: Launcher, flight: Flight[Any], *, renews: bool = True) -> None:
        self._launcher = launcher
        self.renews = renews
        self.epoch = launcher._shared.epoch
        self.flight = flight

    def publish(self, answer: object, unsaved: Token | None = None) -> None:
        """Give the waiters their answer. `unsaved`: the renewal goes on, with a new token that it could not save."""
        self.flight = self._launcher._publish(self.flight, self.epoch, answer, unsaved)


def refuse_at_the_end(key: str) -> None:
    """Raise `CredentialClosed` where Python takes its modules apart: a new token could not be saved any more."""
    if finalizing():
        raise errors.CredentialClosed("the interpreter is ending", credential=key)


def _on_a_thread(work: Callable[[], None], key: str, *, never_here: bool = False) -> None:
    """Run it on a thread that the interpreter waits for at exit; when none can start any more, run it here.

    Raises `RefreshUnavailable` where the system has no thread to spare and this one cannot be held up (`never_here`, or
    it runs an event loop), and `CredentialClosed` where the interpreter ends and would stop this thread in the middle.
    """
    refuse_at_the_end(key)
    try:
        start(work, f"onerefresh {key}")
    except RuntimeError:
        if interpreter_ends():
            if never_here or threading.current_thread().daemon:
                raise errors.CredentialClosed("the interpreter is ending", credential=key) from None
        elif never_here or running_loop() is not None:
            said = "no thread can be started: this process has as many as it may have"
            raise errors.RefreshUnavailable(said, credential=key, retry_after=1.0) from None
        work()


def _unforeseen(error: BaseException, key: str) -> errors.RefresherFailed:
    failed = errors.RefresherFailed(f"unexpected {type(error).__name__}; see the cause", credential=key)
    failed.__cause__ = error
    return failed
