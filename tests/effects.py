"""The world as effects: each call of a renewal is yielded to whoever drives it, who may fail, delay or reorder it.

A test or a simulation so sees each step of the protocol before it happens. `EFFECTS` is the world for a renewal.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from onerefresh.events import Event
from onerefresh.record import Grant, Record
from onerefresh.renewal.clocks import Instant, Sent
from onerefresh.renewal.known import Known
from onerefresh.renewal.world import Loaded, Note, Spooled, World
from onerefresh.store import AdvisoryLock
from onerefresh.token import Token

T = TypeVar("T")


class Effect(Generic[T]):
    """Something to be done outside; awaiting it gives its result, or raises what went wrong."""

    def __await__(self) -> Generator[Effect[T], T, T]:
        return (yield self)


@dataclass(frozen=True, slots=True)
class Load(Effect[Loaded]):
    replaces: bool = False
    even_sealed: bool = False


@dataclass(frozen=True, slots=True)
class Cas(Effect[str]):
    expected: str | None
    record: Record = field(repr=False)


@dataclass(frozen=True, slots=True)
class Now(Effect[Instant]):
    pass


@dataclass(frozen=True, slots=True)
class Watch(Effect[None]):
    version: str | None
    seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Sleep(Effect[None]):
    seconds: float
    holds_the_exit: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Queue(Effect[bool]):
    pass


@dataclass(frozen=True, slots=True)
class Enter(Effect[AdvisoryLock | None]):
    pass


@dataclass(frozen=True, slots=True)
class Leave(Effect[None]):
    pass


@dataclass(frozen=True, slots=True)
class Prepare(Effect[None]):
    pass


@dataclass(frozen=True, slots=True)
class NewId(Effect[str]):
    pass


@dataclass(frozen=True, slots=True)
class Send(Effect[Token]):
    grant: Grant
    token: Token | None
    ttl: float
    claim: Sent | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ReadSpool(Effect[Spooled | None]):
    pass


@dataclass(frozen=True, slots=True)
class WriteSpool(Effect[bool]):
    entry: Spooled


@dataclass(frozen=True, slots=True)
class DropSpool(Effect[None]):
    entry: Spooled


@dataclass(frozen=True, slots=True)
class ClearSpool(Effect[None]):
    pass


@dataclass(frozen=True, slots=True)
class ReportLoss(Effect[str]):
    pass


@dataclass(frozen=True, slots=True)
class ReadNote(Effect["Note | None"]):
    pass


@dataclass(frozen=True, slots=True)
class Save(Effect[None]):
    token: Token


@dataclass(frozen=True, slots=True)
class Revoke(Effect[str | None]):
    token: Token


@dataclass(frozen=True, slots=True)
class Deliver(Effect[None]):
    answer: object
    unsaved: Token | None = None


@dataclass(frozen=True, slots=True)
class Defer(Effect[None]):
    rest: Coroutine[Any, Any, None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Emit(Effect[None]):
    event: Event


class Knowing:
    """What a process knows. It learns by `knows` alone."""

    def __init__(self, **known: Any) -> None:
        self._known = Known(**known)

    def known(self) -> Known:
        return self._known

    def knows(self, **known: Any) -> None:
        """From now on also this."""
        self._known = self._known._replace(**known)

    def learn(self, record: Record, skew: float) -> None:
        """It goes on knowing the same."""

    def is_under_way(self, identity: tuple[str, int]) -> bool:
        return False


class Memory(Protocol):
    """What a process knows, as `Effects` asks for it."""

    def known(self) -> Known: ...
    def learn(self, record: Record, skew: float) -> None: ...
    def is_under_way(self, identity: tuple[str, int]) -> bool: ...


class Effects(World):
    """Asks its driver for everything but what the process knows, which takes no time."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def known(self) -> Known:
        return self._memory.known()

    async def learn(self, record: Record, skew: float) -> None:
        self._memory.learn(record, skew)

    async def is_under_way(self, identity: tuple[str, int]) -> bool:
        return self._memory.is_under_way(identity)

    async def load(self, *, replaces: bool = False, even_sealed: bool = False) -> Loaded:
        return await Load(replaces, even_sealed)

    async def cas(self, expected: str | None, record: Record) -> str:
        return await Cas(expected, record)

    async def remove(self, expected: str) -> None:
        raise NotImplementedError  # no simulated person purges: tests with real stores do

    async def report_loss(self) -> str:
        return await ReportLoss()

    async def read_note(self) -> Note | None:
        return await ReadNote()

    async def watch(self, version: str | None, seconds: float, why: str = "") -> None:
        await Watch(version, seconds, why)

    async def sleep(self, seconds: float, *, holds_the_exit: bool = False, why: str = "") -> None:
        await Sleep(seconds, holds_the_exit, why)

    async def queue(self) -> bool:
        return await Queue()

    async def enter(self) -> AdvisoryLock | None:
        return await Enter()

    async def leave(self) -> None:
        await Leave()

    async def now(self) -> Instant:
        return await Now()

    async def new_id(self) -> str:
        return await NewId()

    async def prepare(self) -> None:
        await Prepare()

    async def send(self, grant: Grant, token: Token | None, ttl: float, claim: Sent | None = None) -> Token:
        return await Send(grant, token, ttl, claim)

    async def revoke(self, token: Token) -> str | None:
        return await Revoke(token)

    async def read_spool(self) -> Spooled | None:
        return await ReadSpool()

    async def write_spool(self, entry: Spooled) -> bool:
        return await WriteSpool(entry)

    async def drop_spool(self, entry: Spooled) -> None:
        await DropSpool(entry)

    async def clear_spool(self) -> None:
        await ClearSpool()

    async def save(self, token: Token) -> None:
        await Save(token)

    async def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        await Deliver(answer, unsaved)

    async def defer(self, rest: Coroutine[Any, Any, None]) -> None:
        await Defer(rest)

    async def emit(self, event: Event) -> None:
        await Emit(event)


EFFECTS = Effects(Knowing())
"""The world of a process that knows nothing."""


def knowing(**known: Any) -> Effects:
    """The world of a process that knows this: as the fields of `Known`."""
    return Effects(Knowing(**known))
