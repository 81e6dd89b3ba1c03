"""Starting renewals, and the commands of people."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.credential.beginning import begin, refuse_at_the_end
from onerefresh.credential.cached_token import cached_for
from onerefresh.credential.first_token import FirstToken, look_up
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.notices import report_expiry, report_shared_seed, report_type
from onerefresh.credential.options import CredentialOptions
from onerefresh.credential.registry import runs_under_way
from onerefresh.credential.run import CredentialRun
from onerefresh.damping import RefusedAt
from onerefresh.flight import NO_GROUP, Flight
from onerefresh.locks import refuse_inside
from onerefresh.move_run import MoveRun
from onerefresh.record_text import encode
from onerefresh.renewal import renew
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.moving import Move, bring_here
from onerefresh.renewal.request import AGEING, Ahead, RenewalRequest
from onerefresh.renewal.sightings import Sightings
from onerefresh.renewal.world import NotSent, World
from onerefresh.runner import Runner
from onerefresh.tasks import Task
from onerefresh.this_process import machine
from onerefresh.token import Token
from onerefresh.user_code import runs_user_code

__all__ = ["Launcher"]

T = TypeVar("T")


class Launcher:
    """What one `Credential` object contributes to a flight: its options, and its first token.

    `first`: that token, or None; or what gives it, which is called with the first use.
    """

    __slots__ = ("_key", "_memory", "first", "options")

    def __init__(
        self, key: str, memory: SessionMemory, options: CredentialOptions, first: Token | FirstToken | None
    ) -> None:
        self._key = key
        self._memory = memory
        self.options = options
        self.first = first
        if not self.is_unasked:
            self._begins_with(self.seed)
        memory.save = options.save
        if options.timing.early != memory.timing.early:
            memory.timing = memory.timing._replace(early=options.timing.early) if memory.timing.skew else options.timing
        if memory.known is None:  # else the token in memory may belong to another owner
            memory.owner = options.owner or memory.owner

    @property
    def seed(self) -> Token | None:
        """The first token; None also where it is not looked up yet."""
        return self.first if isinstance(self.first, Token) else None

    @property
    def is_unasked(self) -> bool:
        """Whether the first token is not looked up yet."""
        return self.first is not None and not isinstance(self.first, Token)

    @property
    def considers(self) -> str:
        """What shows that a flight compares this object's first token with the session: see `Flight`."""
        if self.is_unasked:
            return f"first token of {id(self)}"  # the flight keeps this object alive
        return "" if self.seed is None else self.seed.seed_fingerprint()

    def _begins_with(self, seed: Token | None) -> None:
        """Take in the first token."""
        memory = self._memory
        report_shared_seed(memory, self.options, seed)
        if memory.seed is None or memory.known is None:  # else the seed may be of another account
            memory.seed = seed or memory.seed

    async def _look_up_first(self, run: CredentialRun, *, is_urgent: bool) -> None:
        """Look the first token up, where that was not done yet. `is_urgent`, and what it raises: as for `look_up`."""
        first = self.first
        if first is None or isinstance(first, Token):
            return
        flight = run.flight
        flight.looks_up = True
        seed = await look_up(first, self._key, self.options, self._memory.store, run, is_urgent=is_urgent)
        if self.first is first:  # else another flight has looked it up meanwhile
            self._begins_with(seed)
            self.first = seed
        run.seed, flight.considers, flight.looks_up = self.seed, self.considers, False

    def request(
        self,
        refused: tuple[str, int] | None = None,
        refused_at: RefusedAt | None = None,
        *,
        background: bool = False,
        ahead: Ahead = AGEING,
    ) -> RenewalRequest:
        """The request of this credential for a renewal now."""
        memory, options = self._memory, self.options
        return RenewalRequest(
            key=self._key,
            profile=options.profile,
            http_timeout=options.http_timeout,
            jitter=memory.jitter,
            refused=refused,
            refused_at=refused_at,
            background=background,
            within=ahead.within,
            unused_for=ahead.unused_for,
            min_valid=ahead.min_valid,
            early=options.timing.early,
            seed=self.seed,
            seed_reported=self.seed is None or self.seed.seed_fingerprint() in memory.reported,
            can_obtain=options.obtain is not None,
            renews_from_access=options.renews_from_access,
            host_saves=options.save is not None,
            owner=options.owner,
            adopts=options.adopts,
            client=options.client,
            gives_way=self._gives_way() if refused else 0.0,
            sightings=memory.sightings,
            process=(machine(), os.getpid()),
            skew=memory.timing.skew,
        )

    def give_up_what_hangs(self) -> None:
        """Let the next renewal send although earlier ones still wait for refreshers that have not returned in time."""
        for run in runs_under_way(self._memory):
            if isinstance(run, CredentialRun) and run.flight.settled:
                run.is_over()

    def _gives_way(self) -> float:
        """Seconds to wait so that the process that refreshed last can claim first.

        That is between half and all of `Store.head_start`, or 0 where no other process was seen to refresh last.
        """
        memory = self._memory
        return memory.store.head_start * (1.0 + memory.jitter) / 2.0 if memory.follows else 0.0

    def adopt_seed_now(self) -> None:
        """Write the seed into a store in memory, which needs no waiting, so that the seed serves at once."""
        memory = self._memory
        if self.options.moved_from is not None:
            return  # that store may have a session
        with memory.lock:
            if self.seed is None or memory.store.load(self._key) is not None:
                return
            request = self.request()
            now, stamp = memory.clock.time(), request.stamp()
            record = records.new_session(None, self.seed, now=now, owner=request.signs, what="seed", stamp=stamp)
            memory.store.cas(self._key, None, encode(record))
            assert record.token is not None
            memory.known, memory.held = record.token, cached_for(record.token, memory.jitter, memory.timing)
        report_type(memory, self.options, record.token)
        report_expiry(memory, self.options, record.token)

    def _run(self, flight: Flight[Any], *, renews: bool = True) -> CredentialRun:
        return CredentialRun(self._memory, self.options, self.seed, flight, renews=renews)

    def launch(self, flight: Flight[Outcome], *, background: bool, ahead: Ahead = AGEING) -> None:
        """Start the renewal of a registered flight. A second call changes nothing."""
        run, is_urgent = self._run(flight), runs_user_code()
        if flight.group is NO_GROUP:
            flight.group = self.options.group

        async def work(task: Task) -> None:
            if not flight.begin(task):
                return
            try:
                await self._look_up_first(run, is_urgent=is_urgent)
                request = self.request(flight.refused, flight.refused_at, background=background, ahead=ahead)
                run.deliver(await run.runner().run(self._moved_first(run, lambda world: renew.renew(world, request))))
            except NotSent as error:
                flight.lost_its_loop = self.options.loop is None
                run.deliver(errors.RefreshUnavailable(error.message).about(self._key))
            except errors.OnerefreshError as error:
                run.deliver(error.about(self._key))
            except GeneratorExit:  # a forked child drops its copy
                raise
            except BaseException as error:  # a defect here or in a store: the callers must not wait on
                run.deliver(_unforeseen(error, self._key))
                raise
            finally:
                run.is_over()

        try:
            begin(Task(work), self._key, never_here=background and not ahead.is_urgent)
        except errors.OnerefreshError as error:
            run.deliver(error)
        flight.started()  # skipped by an interrupt: then this thread must still start the flight

    def _moved_first(
        self, run: CredentialRun, work: Callable[[World], Coroutine[Any, Any, T]]
    ) -> Callable[[World], Coroutine[Any, Any, T]]:
        """`work`, after the credential was moved here if it is still in the store ``moved_from``."""
        source = self.options.moved_from
        if source is None:
            return work

        async def moved(world: World) -> T:
            names = source.name, self._memory.store.name
            request, there = self.request(), self.request_there()
            await bring_here(Move(run.runner_in(source), world, *names, request, there))
            return await work(world)

        return moved

    def request_there(self) -> RenewalRequest:
        """The request as it is made in the store ``moved_from``, whose records this process does not remember."""
        return self.request()._replace(seed=None, sightings=Sightings())

    @property
    def there(self) -> Runner | None:
        """The `World` of this credential in the store ``moved_from``, for a command; None where there is none."""
        store = self.options.moved_from
        return None if store is None else Runner(self._key, store, MoveRun(store), self.options.functions)

    def run_command(
        self, work: Callable[[World], Coroutine[Any, Any, T]], loop: object, *, moves: bool = True, asks: bool = True
    ) -> Flight[T]:
        """Run a command beside the renewals; no other caller waits for it.

        `moves`: a credential that is still in the store ``moved_from`` is moved first. `asks`: the first token is
        looked up before.

        Raises `Reentered` where waiting is impossible, and `CredentialClosed` where nothing can begin any more.
        """
        refuse_inside()
        refuse_at_the_end(self._key)
        flight: Flight[T] = Flight(loop=loop)
        run_, is_urgent = self._run(flight, renews=False), runs_user_code()
        command = self._moved_first(run_, work) if moves else work

        async def run(task: Task) -> None:
            flight.begin(task)
            try:
                if asks:
                    await self._look_up_first(run_, is_urgent=is_urgent)
                flight.settle(await run_.runner().run(command))
            except errors.OnerefreshError as error:
                flight.settle(None, error.about(self._key))
            except GeneratorExit:  # as in `launch`
                raise
            except BaseException as error:  # a defect, as in `launch`
                flight.settle(None, _unforeseen(error, self._key))
                raise

        try:
            begin(Task(run), self._key)
        except errors.OnerefreshError as error:
            flight.settle(None, error)
        return flight


def _unforeseen(error: BaseException, key: str) -> errors.RefresherFailed:
    """The error for an exception that no other code handles."""
    failed = errors.RefresherFailed(f"unexpected {type(error).__name__}; see the cause", credential=key)
    failed.__cause__ = error
    return failed
