"""A deterministic world for renewals: virtual clocks, one record, scripted answers, and faults at any effect.

A `World` is what processes share: the store, the authorization server and time. A `Process` is one of them: it runs
one renewal, all at once or step by step, so that two of them can be interleaved at any effect.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tests import effects
from tests.effects import Effect

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Event, Kind
from onerefresh.profile import Profile, profile_named
from onerefresh.record import Grant, Lease, Record
from onerefresh.record_text import decode, encode
from onerefresh.renewal import world as renewal_world
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.sightings import Sightings
from onerefresh.renewal.world import Loaded, Spooled
from onerefresh.store import AdvisoryLock, Conflict, StoreOutcomeUnknown, StoreTime
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

T = TypeVar("T")
START = 1_800_000_000.0
KEY = "acme"
STEPS = 20_000
"""More effects than any renewal of these tests needs: one that goes on is caught in a loop."""

Fault = Callable[["World", Effect[Any]], None]


def seed(name: str = "seed", *, lives: float | None = 3600.0, at: float = START) -> Token:
    """A first token, issued at the start of time."""
    return Token(f"access-{name}", f"refresh-{name}", expires_in=lives, issued_at=at)


def failed(
    kind: FailureKind, detail: str = "as scripted", *, retry_after: float | None = None, repeatable: bool = True
) -> RefreshFailure:
    return RefreshFailure(Verdict(kind, detail, retry_after, repeatable=repeatable))


def make_request(profile: str | Profile = "strict", **others: Any) -> RenewalRequest:
    return RenewalRequest(
        **{
            "key": KEY,
            "profile": profile_named(profile),
            "http_timeout": 10.0,
            "jitter": 0.0,
            "sightings": Sightings(),
            **others,
        }
    )


def make_lease(name: str = "other", **others: Any) -> Lease:
    return Lease(**{"id": name, "grant": Grant.REFRESH, "ttl": 300.0, **others})


@dataclass
class World:
    """The store's one record, the server's script, and time."""

    answers: list[Token | RefreshFailure] = field(default_factory=list)
    server: RotatingServer | None = None
    now: float = 0.0
    wall_is_off: float = 0.0
    store_clock_is_off: float = 0.0
    version: int = 0
    body: str | None = None
    clock_epoch: str | None = "boot"
    held_by: Process[Any] | None = None
    spools: dict[str, Spooled] = field(default_factory=dict)
    spool_is_writable: bool = True
    down: bool = False
    sent: list[Token | None] = field(default_factory=list)
    kept: list[Token] = field(default_factory=list)
    save_failures: int = 0
    left_to_do: list[Coroutine[Effect[Any], Any, None]] = field(default_factory=list)
    revoked: list[Token] = field(default_factory=list)
    revocation: str | None = ""
    names: int = 0
    queue: int = 0
    losses: int = 0
    can_note: bool = True
    unnoted: str = ""
    comparing: dict[str, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def __del__(self) -> None:
        for rest in self.left_to_do:
            rest.close()

    # --- The store ---

    @property
    def record(self) -> Record | None:
        return decode(self.body, KEY) if self.body else None

    @property
    def present(self) -> Record:
        found = self.record
        assert found is not None
        return found

    def put(self, record: Record | None) -> None:
        """Write without asking: what some other process did."""
        self.version += 1
        self.body = encode(record) if record else None

    def cas(self, expected: str | None, record: Record) -> str:
        if self.down:
            raise errors.StoreUnavailable("the store is down")
        if (str(self.version) if self.body else None) != expected:
            raise Conflict(KEY)
        self.put(record)
        return str(self.version)

    def load(self) -> Loaded:
        if self.down:
            raise errors.StoreUnavailable("the store is down")
        return Loaded(str(self.version) if self.body else None, self.record)

    # --- Shorthands for what the record went through before ---

    def starts(self, token: Token | None = None, **others: Any) -> Token:
        """The store holds `token` as generation 1; what is then in the record."""
        arguments: dict[str, Any] = {"now": START, "owner": None, "what": "seed", **others}
        self.put(records.new_session(None, token or seed(), **arguments))
        return self.token

    def logs_in(self, token: Token) -> Token:
        """Somebody logs in with `token`."""
        self.put(records.new_session(self.record, token, now=self.wall, owner=None, what="login"))
        return self.token

    def lease(self, other: Lease | None = None) -> Lease:
        """Somebody else has claimed the present generation."""
        other = other or make_lease(clock_epoch=self.clock_epoch, at=self.now)
        self.put(records.claimed(self.record, other, owner=None))
        return other

    def commit_by(self, other: Lease, token: Token) -> None:
        """The holder of `other` comes back and commits."""
        before = self.present
        new = token.following(before.token) if before.token else token
        clock = (self.clock_epoch, self.now) if self.clock_epoch else (None, self.wall)
        by, grant = other.id, other.grant
        self.put(records.committed(before, new, by=by, grant=grant, now=self.wall, refused=False, clock=clock))

    @property
    def token(self) -> Token:
        found = self.present.token
        assert found is not None
        return found

    @property
    def wall(self) -> float:
        return START + self.now + self.wall_is_off

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.events]

    def run(self, renewal: Coroutine[Effect[Any], Any, T], **others: Any) -> T:
        """One process does it, from beginning to end."""
        return Process(self, renewal, **others).finish()

    def fails(self, renewal: Coroutine[Effect[Any], Any, Any], **others: Any) -> errors.OnerefreshError:
        """The error that it ends with."""
        try:
            result = self.run(renewal, **others)
        except errors.OnerefreshError as error:
            return error
        raise AssertionError(f"it ended well, with {result}")


@dataclass
class RotatingServer:
    """Trades its latest refresh token for the next one; what it does with an older one is its kind.

    ``"reject_only"`` refuses it, ``"revoke_family"`` ends the session, ``"grace"`` answers the last one once more.
    """

    kind: str
    latest: str = "refresh-seed"
    before: str = ""
    issued: int = 0
    alive: bool = True
    reused: int = 0

    def answer(self, token: Token | None) -> Token | RefreshFailure:
        assert token is not None
        text = token.reveal_refresh_token()
        if self.alive and text == self.latest:
            self.issued += 1
            self.before, self.latest = text, f"refresh-{self.issued}"
        elif self.alive and self.kind == "grace" and text == self.before:
            pass
        else:
            self.reused += 1
            self.alive = self.alive and self.kind != "revoke_family"
            return failed(FailureKind.DEAD, "invalid_grant")
        return Token(f"access-{self.issued}", self.latest)


class _Held(AdvisoryLock):
    def __init__(self, death_proof: str | None) -> None:
        self.death_proof = death_proof


class Process(Generic[T]):
    """One run of a renewal. `faults`: what happens when its n-th effect of a kind is performed, by (kind, n).

    A fault may change the world, or raise: before the effect is performed, so that it was surely not applied.
    """

    def __init__(
        self,
        world: World,
        renewal: Coroutine[Effect[Any], Any, T],
        *,
        host: str = "host",
        death_proof: str | None = None,
        faults: dict[tuple[type[Effect[Any]], int], Fault] | None = None,
        jitter: float = 0.0,
    ) -> None:
        self.world = world
        self.renewal = renewal
        self.host = host
        self.death_proof = death_proof
        self.jitter = jitter
        self.faults = faults or {}
        self.seen: dict[type[Effect[Any]], int] = {}
        self.trace: list[Effect[Any]] = []
        self.published: list[object] = []
        self.unsaved: Token | None = None
        self.result: T | None = None
        self.is_over = False
        self.pending: Effect[Any] | None = None
        self._answer: object = None
        self._failure: BaseException | None = None

    # --- Going on ---

    def finish(self) -> T:
        """Go on to the end; what the renewal returns. Raises what it raises."""
        if not self.is_over:
            self._go_on(lambda _: False)
        return self.result  # type: ignore[return-value]  # it is over: this is what it returned

    def until(self, kind: type[Effect[Any]], count: int = 1) -> Process[T]:
        """Stop right before the `count`-th effect of `kind` from now."""
        self.until_over_or(kind, count)
        assert not self.is_over, f"it was over without another {kind.__name__}"
        return self

    def until_over_or(self, kind: type[Effect[Any]], count: int) -> None:
        """Stop right before the `count`-th effect of `kind` from now, or at the end if that is sooner."""
        left = [count]

        def is_there(effect: Effect[Any]) -> bool:
            left[0] -= isinstance(effect, kind)
            return left[0] <= 0

        self._go_on(is_there)

    def step(self) -> None:
        """Perform one effect."""
        passed = [0]

        def is_second(effect: Effect[Any]) -> bool:
            passed[0] += 1
            return passed[0] > (1 if first else 0)

        first = self.pending is None
        self._go_on(is_second)

    def crash(self) -> None:
        """The process dies: what it held is released by its kernel, and nothing else happens."""
        self.renewal.close()
        self.is_over = True
        if self.world.held_by is self:
            self.world.held_by = None

    def _go_on(self, stop: Callable[[Effect[Any]], bool]) -> None:
        for _ in range(STEPS):
            if self.pending is None:
                try:
                    self.pending = (
                        self.renewal.send(self._answer) if self._failure is None else self.renewal.throw(self._failure)
                    )
                except StopIteration as end:
                    self.result, self.is_over = end.value, True
                    self._drop()
                    return
                except BaseException:
                    self.is_over = True
                    self._drop()
                    raise
                if stop(self.pending):
                    return
            effect, self.pending = self.pending, None
            self._answer, self._failure = None, None
            try:
                self._answer = self._perform(effect)
            except (errors.OnerefreshError, Conflict, StoreOutcomeUnknown, RefreshFailure) as error:
                self._failure = error
        raise AssertionError(f"it goes round in circles: {self.trace[-12:]}")

    # --- Effects ---

    def _perform(self, effect: Effect[Any]) -> object:
        kind = type(effect)
        self.trace.append(effect)
        self.seen[kind] = self.seen.get(kind, 0) + 1
        fault = self.faults.get((kind, self.seen[kind]))
        if fault is not None:
            fault(self.world, effect)
        world = self.world
        match effect:
            case effects.Load():
                return world.load()
            case effects.Cas(expected, record):
                return world.cas(expected, record)
            case effects.Now():
                at = world.now + world.store_clock_is_off
                shared = StoreTime(world.clock_epoch, at, single_host=True) if world.clock_epoch else None
                return Instant(world.wall, world.now, shared, self.jitter)
            case effects.NewId():
                world.names += 1
                return f"attempt {world.names}"
            case effects.Send(_, token, _):
                world.sent.append(token)
                answer = world.server.answer(token) if world.server else world.answers.pop(0)
                if isinstance(answer, RefreshFailure):
                    raise answer
                return answer
            case effects.Revoke(token):
                world.revoked.append(token)
                return world.revocation
            case effects.Queue():
                waited, world.queue = world.queue > 0, 0
                return waited
            case effects.Enter():
                if world.held_by not in (None, self):
                    return None
                world.held_by = self
                return _Held(self.death_proof)
            case effects.ReadSpool():
                return world.spools.get(self.host)
            case effects.WriteSpool(entry):
                if world.spool_is_writable:
                    world.spools[self.host] = entry
                return world.spool_is_writable
            case effects.ReportLoss():
                world.losses += world.can_note
                return f"note:{world.losses}" if world.can_note else world.unnoted
            case effects.ReadNote():
                if not world.can_note and world.unnoted == renewal_world.NO_NOTE:
                    return None
                return renewal_world.Note("note", world.losses, world.losses, world.losses > 0, world.comparing)
        self._act(effect)
        return None

    def _act(self, effect: Effect[Any]) -> None:
        world = self.world
        match effect:
            case effects.Sleep(seconds):
                world.now += seconds
            case effects.Watch(version, seconds):
                if (str(world.version) if world.body else None) == version:
                    world.now += min(seconds, 1.0)
            case effects.Leave():
                self._drop()
            case effects.DropSpool(entry):
                spooled = world.spools.get(self.host)
                if spooled is not None and spooled.attempt == entry.attempt:
                    del world.spools[self.host]
            case effects.ClearSpool():
                world.spools.pop(self.host, None)
            case effects.Save(token):
                if world.save_failures:
                    world.save_failures -= 1
                    raise errors.SaveFailed("as scripted", credential=KEY)
                world.kept.append(token)
            case effects.Deliver(answer, unsaved):
                self.published.append(answer)
                self.unsaved = unsaved or self.unsaved
            case effects.Defer(rest):
                world.left_to_do.append(rest)
            case effects.Emit(event):
                world.events.append(event)
            case effects.Prepare():
                pass
            case _:
                raise NotImplementedError(type(effect).__name__)

    def _drop(self) -> None:
        if self.world.held_by is self:
            self.world.held_by = None


NEXT = Token("access-next", "refresh-next")


def needy(token: Token | None = None, *answers: Any, **others: Any) -> World:
    """A store with one token, and a server that gives these answers."""
    world = World(list(answers))
    world.starts(token, **others)
    return world


def refusing(world: World) -> dict[str, Any]:
    """What a call asks for whose present token was refused."""
    return {"refused": world.present.identity}


# --- Faults ---


def store_goes_down(world: World, effect: Effect[Any]) -> None:
    world.down = True


def store_comes_back(world: World, effect: Effect[Any]) -> None:
    world.down = False


def lost_but_applied(world: World, effect: Effect[Any]) -> None:
    """The write is applied, and its answer is lost."""
    assert isinstance(effect, effects.Cas)
    world.cas(effect.expected, effect.record)
    raise StoreOutcomeUnknown("the answer was lost")


def lost_and_not_applied(world: World, effect: Effect[Any]) -> None:
    raise StoreOutcomeUnknown("the request was lost")


def the_process_ends(world: World, effect: Effect[Any]) -> None:
    raise errors.CredentialClosed("the interpreter is ending", credential=KEY)


def passes(seconds: float) -> Fault:
    """So much time passes before the effect is performed: the process was paused."""

    def fault(world: World, effect: Effect[Any]) -> None:
        world.now += seconds

    return fault


def does(action: Callable[[World], object]) -> Fault:
    """Somebody else does something right before the effect is performed."""

    def fault(world: World, effect: Effect[Any]) -> None:
        action(world)

    return fault
