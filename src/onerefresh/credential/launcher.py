"""Runs renewals and a person's commands on threads of their own, and brings their results into memory."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from onerefresh import errors, events
from onerefresh import record as records
from onerefresh.credential.aftercare import aftercare
from onerefresh.credential.shared import Shared, held_for
from onerefresh.credential.terms import Terms
from onerefresh.flight import Flight, running_loop
from onerefresh.record_text import encode
from onerefresh.renewal import protocol
from onerefresh.renewal.decision import Wish
from onerefresh.renewal.effects import Effect
from onerefresh.renewal.protocol import Outcome
from onerefresh.runner import Runner, interpreter_ends
from onerefresh.token import Token

__all__ = ["Launcher"]

T = TypeVar("T")


class Launcher:
    """What one `Credential` object brings to a flight: its terms and its seed."""

    __slots__ = ("_key", "_seed", "_shared", "_terms")

    def __init__(self, key: str, shared: Shared, terms: Terms, seed: Token | None) -> None:
        self._key = key
        self._shared = shared
        self._terms = terms
        self._seed = seed

    def wish(
        self, refused: tuple[str, int] | None = None, *, ageing: bool = False, within: float | None = None
    ) -> Wish:
        """What this credential asks of a renewal now."""
        shared, terms = self._shared, self._terms
        return Wish(
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
            host_saves=terms.save is not None,
            sightings=shared.sightings,
            look_again=lambda: shared.store.may_go_back,
            owner=terms.owner,
            known=shared.known,
            proven=shared.proven,
            newest=lambda: shared.known,
            gives_way=self._gives_way() if refused else 0.0,
        )

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
            wish = self.wish()
            record = records.founded(None, self._seed, now=shared.clock.time(), owner=wish.owner, what="seed")
            shared.store.cas(self._key, None, encode(record))
            assert record.token is not None
            shared.known, shared.held = record.token, held_for(record.token, shared.spread)

    def launch(self, flight: Flight[Outcome], *, ageing: bool, within: float | None = None) -> None:
        """Start the renewal of a flight that is registered. A second call changes nothing."""
        epoch = self._shared.epoch

        def publish(answer: object) -> None:
            self._publish(flight, epoch, answer)

        def work() -> None:
            if not flight.begin():
                return
            try:
                wish = self.wish(flight.refused, ageing=ageing, within=within)
                publish(self._runner(flight, publish).run(protocol.renew(wish)))
            except errors.OnerefreshError as error:
                publish(error.about(self._key))
            except BaseException as error:  # a defect of ours or of a store: the waiters must hear of it
                publish(_unforeseen(error, self._key))
                raise

        try:
            _on_a_thread(work, self._key)
        except errors.RefreshUnavailable as error:
            publish(error)

    def run_apart(self, work: Callable[[], Coroutine[Effect[Any], Any, T]], home: object) -> Flight[T]:
        """Run a command beside the renewals, on a thread of its own; nobody else waits for it."""
        flight: Flight[T] = Flight(home=home)
        runner = self._runner(flight, lambda _: None)

        def run() -> None:
            try:
                flight.settle(runner.run(work()))
            except errors.OnerefreshError as error:
                flight.settle(None, error.about(self._key))
            except BaseException as error:  # as above
                flight.settle(None, _unforeseen(error, self._key))
                raise

        try:
            _on_a_thread(run, self._key)
        except errors.RefreshUnavailable as error:
            flight.settle(None, error)
        return flight

    def _publish(self, flight: Flight[Outcome], epoch: int, answer: object) -> None:
        if isinstance(answer, Outcome):
            if not flight.brought(answer):
                self._land(flight, epoch, outcome=answer)
        elif isinstance(answer, errors.OnerefreshError):
            self._land(flight, epoch, error=answer)

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
            elif error is not None and epoch == shared.epoch:
                shared.give_up(error)
        flight.settle(outcome, error)
        if outcome is not None and before is not None:
            self._tell_rotation(before, outcome.token)

    def _tell_rotation(self, before: Token, after: Token) -> None:
        """Say once that a rotating server deserves a store that survives the process."""
        shared = self._shared
        rotated = before.refresh_token is not None and before.refresh_token != after.refresh_token
        if shared.store.durable or self._terms.save is not None or shared.rotation_told or not rotated:
            return
        shared.rotation_told = True
        said = f"the server rotates refresh tokens, and {shared.store.forgets}"
        events.publish(events.Event(events.Kind.NOT_DURABLE, self._key, after.generation, detail=said))

    def _runner(self, flight: Flight[Any], publish: Callable[[object], object]) -> Runner:
        return Runner(
            self._key,
            self._shared.store,
            refresher=self._terms.refresher,
            obtain=self._terms.obtain,
            save=self._terms.save,
            home=flight.home,
            publish=publish,
            overdue=lambda ttl: self._overdue(flight, ttl),
            wanted=lambda: flight.wanted,
            afterwards=aftercare.look_after,
            turns=self._terms.turns,
        )

    @contextlib.contextmanager
    def _overdue(self, flight: Flight[Any], ttl: float) -> Iterator[None]:
        """Fail the waiters of a refresher that does not return within `ttl` seconds; a late result still counts."""
        epoch = self._shared.epoch

        def fail() -> None:
            said = f"the refresher has not returned for {ttl:.0f} s"
            self._land(flight, epoch, error=errors.RefreshOutcomeUnknown(said, credential=self._key))

        timer = threading.Timer(ttl, fail)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the interpreter is ending: nobody waits any more
            yield
            return
        try:
            yield
        finally:
            timer.cancel()


def _on_a_thread(work: Callable[[], None], key: str) -> None:
    """Run it on a thread that the interpreter waits for at exit; at the very end, when none can start, run it here.

    Raises `RefreshUnavailable` where the system has no thread to spare and this one runs an event loop.
    """
    try:
        threading.Thread(target=work, name=f"onerefresh {key}", daemon=False).start()
    except RuntimeError:
        if not interpreter_ends() and running_loop() is not None:
            said = "no thread can be started: this process has as many as it may have"
            raise errors.RefreshUnavailable(said, credential=key, retry_after=1.0) from None
        work()


def _unforeseen(error: BaseException, key: str) -> errors.RefresherFailed:
    failed = errors.RefresherFailed(f"unexpected {type(error).__name__}; see the cause", credential=key)
    failed.__cause__ = error
    return failed
