"""The real `Credential` in a simulated process, and those who call through it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from tests.effects import Effect, Effects
from tests.simulator.scenario import HTTP_TIMEOUT
from tests.simulator.targets import target_of
from tests.simulator.tasks import Ask, Pass, Until

from onerefresh import errors
from onerefresh.credential.credential import Credential
from onerefresh.credential.launcher import Launcher
from onerefresh.credential.look import NEWEST_EVERY
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.options import CredentialOptions
from onerefresh.credential.registry import known_of
from onerefresh.credential.run import CredentialRun
from onerefresh.damping import RefusedAt, Target
from onerefresh.flight import Flight
from onerefresh.profile import Profile
from onerefresh.record import Record
from onerefresh.renewal import renew
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.bring_back import bring_back, is_lost, lacks
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.known import Known
from onerefresh.renewal.request import AGEING, Ahead, RenewalRequest
from onerefresh.renewal.world import World
from onerefresh.store import Store, Versioned
from onerefresh.token import Answer, Token

if TYPE_CHECKING:
    from tests.simulator.process import Process

__all__ = ["KEY", "Account", "call", "calls", "visit"]

T = TypeVar("T")
KEY = "acme"
MAX_WAIT = 60.0
"""Seconds that a caller waits."""


class _Place(Store):
    """What a `Credential` knows its store by; its effects are performed by the simulation."""

    name = "simulated"

    def __init__(self, *, memory: bool, may_go_back: bool, head_start: float) -> None:
        self.durable, self.may_go_back, self.head_start = memory, may_go_back, head_start

    def load(self, key: str) -> Versioned | None:
        raise NotImplementedError

    def cas(self, key: str, expected: str | None, body: str) -> str:
        raise NotImplementedError


class _Refresher:
    timeout = HTTP_TIMEOUT

    def __call__(self, token: Token) -> Answer:
        raise NotImplementedError


def _obtain() -> Answer:
    raise NotImplementedError


def _save(token: Token) -> None:
    raise NotImplementedError


class _Memory(SessionMemory):
    """The process looks at its store by itself."""

    needs_looks = False


class _Run(CredentialRun):
    """Its waiters wait in virtual time."""

    __slots__ = ("_world",)

    def __init__(self, process: Process, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._world = process.world

    def _land(self, flight: Flight[Any], **options: Any) -> None:
        super()._land(flight, **options)
        self._world.settled(flight)


class _Look:
    """What a look in the background knows."""

    def __init__(self, memory: SessionMemory) -> None:
        self._memory = memory

    def known(self) -> Known:
        return known_of(self._memory)

    def learn(self, record: Record, skew: float) -> None:
        """It finds nothing new."""

    def is_under_way(self, identity: tuple[str, int]) -> bool:
        return False


class _Launcher(Launcher):
    """Starts simulated tasks where the real one starts threads."""

    def __init__(self, process: Process, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._process = process

    def request(
        self,
        refused: tuple[str, int] | None = None,
        refused_at: RefusedAt | None = None,
        *,
        background: bool = False,
        ahead: Ahead = AGEING,
    ) -> RenewalRequest:
        """With the name of the simulated machine in the place of that on which the simulation runs."""
        found = super().request(refused, refused_at, background=background, ahead=ahead)
        return found._replace(process=(self._process.host.name, 1))

    def launch(self, flight: Flight[Outcome], *, background: bool, ahead: Ahead = AGEING) -> None:
        process = self._process
        run, memory = self._run(flight), self._memory
        request = self.request(flight.refused, flight.refused_at, background=background, ahead=ahead)

        def ended(value: object, error: errors.OnerefreshError | None) -> None:
            run.is_over()
            process.world.judge.renewed(task, value, error)
            run.deliver(value if error is None else error.about(self._key))

        def overdue(ttl: float) -> None:
            memory.no_more_waits_under(task.leased)
            run.deliver(errors.RefreshOutcomeUnknown(f"the refresher has not returned for {ttl:.0f} s"))

        process.renewals += 1
        task = process.spawn(f"renewal {process.renewals}", renew.renew(Effects(run), request), ended)
        task.publish, task.overdue = run.deliver, overdue
        task.has_sent = lambda leased: memory.sends(run, leased)
        flight.begin()
        flight.started()
        process.world.judge.began(task)

    def _run(self, flight: Flight[Any], *, renews: bool = True) -> CredentialRun:
        return _Run(self._process, self._memory, self.options, self.seed, flight, renews=renews)

    def run_command(
        self, work: Callable[[World], Coroutine[Any, Any, T]], loop: object, *, moves: bool = True, asks: bool = True
    ) -> Flight[T]:
        flight: Flight[T] = Flight(loop=loop)

        def ended(value: Any, error: errors.OnerefreshError | None) -> None:
            flight.settle(value, error)
            self._process.world.settled(flight)

        self._process.spawn("command", work(Effects(self._run(flight, renews=False))), ended)
        return flight


@functools.cache
def _options(profile: Profile, max_wait: float, *, obtains: bool, saves: bool) -> CredentialOptions:
    return CredentialOptions.of(
        _Refresher(),
        obtain=_obtain if obtains else None,
        save=_save if saves else None,
        profile=profile,
        max_wait=max_wait,
    )


class Account(Credential):
    """One process's `Credential`, on virtual time."""

    def __init__(self, process: Process, seed: Token | None) -> None:
        world = process.world
        scenario = world.scenario
        options = _options(scenario.profile, MAX_WAIT, obtains=scenario.obtains, saves=scenario.host_saves)
        place = _Place(memory=not scenario.host_saves, may_go_back=scenario.may_go_back, head_start=scenario.head_start)
        self._begin(KEY, options, place, seed)
        self._process = process
        self._memory = _Memory(place, KEY)  # in no register: processes that are simulated together know nothing more
        self._memory.clock = process.host.clock
        self._memory.jitter = world.rng.random()
        self._launcher = _Launcher(process, KEY, self._memory, self._options, seed)
        self._losses, self._looks = (1, 0), 0
        self._server: str | None = None

    def look(self) -> Coroutine[Effect[Any], Any, object] | None:
        """What this process does at each look at its store in the background; None: nothing."""
        world, memory = self._process.world, self._memory
        moment = world.moment(self._process)
        server = moment.clock_epoch if moment is not None and not moment.single_host else self._server
        self._looks += 1
        is_due = self._losses != (world.note, world.losses) or server not in (None, self._server)
        is_due = is_due or not world.scenario.may_go_back or server is None or self._looks % NEWEST_EVERY == 0
        if self._options.save is not None or not is_due or world.store.is_down:
            return None  # the store is its own memory, or there is no reason
        known, is_another = memory.newest, server != self._server
        self._losses, self._server = (world.note, world.losses), server
        record, leased = world.store.record, memory.leased
        now = Instant(0.0, 0.0, moment, 0.0)
        is_there = known is None or not (is_lost(record, known, memory.earlier) or lacks(record, leased, known, now))
        if not is_another and not self._process.host.spool and is_there:
            return None  # it would read the record, and leave it as it is
        return bring_back(Effects(_Look(memory)), self._launcher.request())

    async def ask(self, refused: Token | None = None, target: Target | None = None) -> Token:
        """As `token`, waiting in virtual time."""
        clock = self._memory.clock
        deadline = clock.monotonic() + self._options.max_wait
        while True:
            found = self._look(refused, target, blocking=True)
            if isinstance(found, Token):
                return found
            if not await Until(found, deadline - clock.monotonic()):
                raise self._too_late()
            token = found.result().token
            if self._satisfies(token, refused, found, target):
                if refused is None:
                    self._ageing()
                return token

    async def sign_in(self, token: Token) -> Token:
        """As `login`."""
        flight = self._log_in(token, blocking=True)
        if not await Until(flight, self._options.max_wait):
            raise self._too_late()
        return flight.result().token

    async def sign_out(self) -> None:
        """As `logout`."""
        flight = self._log_out()
        if not await Until(flight, self._options.max_wait):
            raise self._too_late()
        flight.result()


async def call(account: Account, path: str = "") -> bool:
    """One API call, as a client integration makes it; whether it was accepted. Raises an `OnerefreshError`."""
    judge, target = account._process.world.judge, target_of(path)
    asked = judge.asking(account._process)
    token = await account.ask()
    judge.handed_out(account._process, token, asked)
    if await Ask(token.reveal(), path):
        if target is not None:
            account.accepted(token, target)
            if hash(target) in account._memory.takers_of(token.identity).targets:
                judge.targets.accepted(account._process, token, path)
        elif account.unproven is token:
            account.replayed(token, accepted=True)
        return True
    newer = await account.ask(token, target)
    judge.handed_out(account._process, newer, asked, refused=True)
    if newer.identity == token.identity:
        judge.answers.not_renewed(token)
        judge.targets.not_renewed(account._process, token, path)
        return False
    accepted = await Ask(newer.reveal(), path)
    account.replayed(newer, accepted=accepted, target=target)
    if not accepted:
        judge.targets.refused_again(account._process, newer, path)
    return accepted


async def calls(account: Account, count: int, pause: float, path: str = "") -> None:
    """A caller: so many calls, with pauses of about so many seconds in between."""
    process = account._process
    world = process.world
    for _ in range(count):
        await Pass(world.rng.expovariate(1.0 / pause))
        for _ in range(1 + world.scenario.insists):
            if await _once(account, path):
                break


async def visit(account: Account, count: int) -> None:
    """What a short-lived process does: a few calls, one right after the other."""
    for _ in range(count):
        await _once(account)


async def _once(account: Account, path: str = "") -> bool:
    """One call, which may fail; False where it did."""
    process = account._process
    judge, began = process.world.judge, process.world.timeline.now
    try:
        accepted = await call(account, path)
    except errors.OnerefreshError as error:
        judge.call_failed(process, error)
        judge.call_lasted(process, began)
        return False
    judge.call_ended(accepted=accepted)
    judge.call_lasted(process, began)
    return True
