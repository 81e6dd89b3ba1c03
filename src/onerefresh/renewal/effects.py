"""What a renewal asks of the world: effects, each performed by whoever drives the renewal.

Awaiting an effect yields it to the driver and gives its result, so that the protocol is ordinary typed code and yet
touches no clock, lock, socket, thread or logger.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from onerefresh.events import Event
from onerefresh.record import Clock, Grant, Record
from onerefresh.store import Hold, Moment
from onerefresh.token import Token

T = TypeVar("T")


class Effect(Generic[T]):
    """Something to be done outside; awaiting it gives its result, or raises what went wrong."""

    def __await__(self) -> Generator[Effect[T], T, T]:
        return (yield self)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the store holds: its version, and the record."""

    version: str | None
    record: Record | None


@dataclass(frozen=True, slots=True)
class Load(Effect[Loaded]):
    """Read the record. Raises `StoreUnavailable`.

    `replaces`: it will be replaced whatever it says, so one that is damaged counts as none. `even_sealed`: so does one
    that no key opens, or that only a newer version can read.
    """

    replaces: bool = False
    even_sealed: bool = False


@dataclass(frozen=True, slots=True)
class Cas(Effect[str]):
    """Write the record if the version is still `expected`; the new version. Raises as `Store.cas` does."""

    expected: str | None
    record: Record = field(repr=False)


@dataclass(frozen=True, slots=True)
class Instant:
    """`wall`: seconds since the epoch; `monotonic`: this process's own; `shared`: the store's clock, if it has one.

    `spread`: a random number in [0, 1), for jitter.
    """

    wall: float
    monotonic: float
    shared: Moment | None
    spread: float

    @property
    def clock(self) -> Clock:
        """What refreshes are counted by: the store's clock, if it has one."""
        return (None, self.wall) if self.shared is None else (self.shared.era, self.shared.seconds)


@dataclass(frozen=True, slots=True)
class Now(Effect[Instant]):
    """Read the clocks."""


@dataclass(frozen=True, slots=True)
class Watch(Effect[None]):
    """Wait until the record may have changed from `version`, at most `seconds`. May return early.

    Raises `CredentialClosed` where the interpreter is ending. `why`: what is waited for, in words.
    """

    version: str | None
    seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Sleep(Effect[None]):
    """Let `seconds` pass. Raises `CredentialClosed` where the interpreter is ending, unless it has to wait for this.

    `why`: as for `Watch`.
    """

    seconds: float
    holds_the_exit: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Turn(Effect[bool]):
    """Wait for a turn at the token endpoint's host, where renewals at once are limited; whether it took any waiting.

    At once where this renewal has its turn already. `Drop` and `Watch` give it back: who merely waits for another
    process keeps nobody from the endpoint. Raises `CredentialClosed` where the interpreter is ending.
    """


@dataclass(frozen=True, slots=True)
class Take(Effect[Hold | None]):
    """Take the store's hold on this credential, without waiting; None where somebody else has it."""


@dataclass(frozen=True, slots=True)
class Drop(Effect[None]):
    """Release the hold, if it is held, and give the turn back."""


@dataclass(frozen=True, slots=True)
class Prepare(Effect[None]):
    """Let the refresher do what is slow and sends nothing. Raises `ConfigurationError`."""


@dataclass(frozen=True, slots=True)
class NewId(Effect[str]):
    """A random name for an attempt."""


@dataclass(frozen=True, slots=True)
class Send(Effect[Token]):
    """Ask for the next token, once, within `ttl` seconds. Raises `RefreshFailure`."""

    grant: Grant
    token: Token | None
    ttl: float


@dataclass(frozen=True, slots=True)
class Spooled:
    """A new token that could not be committed: the answer to `attempt`, which spent `generation` of `family`.

    `repeated`: perhaps the answer to an earlier request once more. `useless`: why its access token was of no use, so
    that `token` has the one before in its place. `owner`: as a record's.
    """

    family: str
    generation: int
    attempt: str
    grant: Grant
    refused: bool
    token: Token
    repeated: bool = False
    useless: str = ""
    owner: str | None = None
    unknown: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)

    def as_next(self) -> Token:
        """The token as the generation that it will be."""
        founds = self.grant is Grant.OBTAIN
        return self.token.numbered(self.token.seed_fingerprint() if founds else self.family, self.generation + 1)


@dataclass(frozen=True, slots=True)
class ReadSpool(Effect[Spooled | None]):
    """What this host has spooled for this credential."""


@dataclass(frozen=True, slots=True)
class WriteSpool(Effect[bool]):
    """Keep the token in the spool file; whether that worked."""

    entry: Spooled


@dataclass(frozen=True, slots=True)
class DropSpool(Effect[None]):
    """Delete the spool file, if it still holds this entry."""

    entry: Spooled


@dataclass(frozen=True, slots=True)
class ClearSpool(Effect[None]):
    """Delete all that this host has spooled for this credential, whether it can be read or not."""


@dataclass(frozen=True, slots=True)
class ReportLoss(Effect[None]):
    """Let all who use the store know that it has lost this record, or may have. Never raises: it is a hint."""


@dataclass(frozen=True, slots=True)
class Save(Effect[None]):
    """Hand the token to the host's ``save``. Raises `SaveFailed`."""

    token: Token


@dataclass(frozen=True, slots=True)
class Revoke(Effect[str | None]):
    """Tell the server that the token is not needed any more. Never raises.

    None where the refresher cannot do it, an empty text where the server confirmed it, else what went wrong.
    """

    token: Token


@dataclass(frozen=True, slots=True)
class Publish(Effect[None]):
    """Give the waiters their answer now; the renewal itself goes on.

    `unsaved`: the new token that nobody may be given yet, because it is saved nowhere: no other renewal of this process
    sends what this one has spent. Callers who come after an error join this renewal. No answer: they go on waiting.
    """

    answer: object
    unsaved: Token | None = None


@dataclass(frozen=True, slots=True)
class Afterwards(Effect[None]):
    """Go on with `rest` by and by, when this renewal is over: mostly it sleeps, and nobody waits for it."""

    rest: Coroutine[Effect[Any], Any, None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tell(Effect[None]):
    """Report an event."""

    event: Event
