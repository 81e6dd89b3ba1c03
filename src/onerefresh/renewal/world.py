"""What a renewal asks of the world outside it: the store, the clocks, the token endpoint, the spool, its waiters.

The protocol touches no clock, lock, socket, thread or logger itself. So the same code runs over real stores and
servers, and over simulated ones in which every order of events and every fault can be had. Its driver decides what a
call costs: in production a call returns at once or blocks its thread, and only `watch`, `sleep` and `queue`
may suspend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from onerefresh import errors
from onerefresh.events import Event
from onerefresh.record import Grant, Record
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.known import Known
from onerefresh.store import AdvisoryLock
from onerefresh.token import Token
from onerefresh.verdict import RefreshFailure


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the store holds: its version, and the record."""

    version: str | None
    record: Record | None


class Unsent(RefreshFailure):
    """The refresher surely sent nothing: its event loop ended before it began."""


class NotSent(errors.RefreshUnavailable):
    """What a renewal ends with then: callers on another event loop may ask again at once."""


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
        is_new = self.grant is Grant.OBTAIN
        return self.token.numbered(self.token.seed_fingerprint() if is_new else self.family, self.generation + 1)


NO_NOTE = "-"
"""What is said of a store that can hold no note: it refuses the note's name, or only a newer version can write it."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the store's note says to a process that would take a recovery lease over.

    `id` and `count`: of the note, and of the losses in it, of which it names so many as `names` says; `is_named`:
    whether this record is among those. `comparing`: the processes that are still comparing what they know with the
    store, and how far each is.
    """

    id: str
    count: int
    names: int
    is_named: bool
    comparing: Mapping[str, int] = field(default_factory=dict, hash=False)

    def still_says(self, mark: str) -> bool:
        """Whether the loss that was noted with this mark is in it; or was, before others came in its place."""
        name, _, count = mark.rpartition(":")
        if not count.isdecimal() or name != self.id or int(count) > self.count:
            return False
        return self.is_named or self.count - int(count) >= self.names


class World(ABC):
    """All that one renewal, or one command of a person's, can do and learn."""

    # --- The store ---

    @abstractmethod
    async def load(self, *, replaces: bool = False, even_sealed: bool = False) -> Loaded:
        """Read the record. Raises `StoreUnavailable`.

        `replaces`: it will be replaced whatever it says, so one that is damaged counts as none. `even_sealed`: so does
        one that no key opens, or that only a newer version can read.
        """

    @abstractmethod
    async def cas(self, expected: str | None, record: Record) -> str:
        """Write the record if the version is still `expected`; the new version. Raises as `Store.cas` does."""

    @abstractmethod
    async def report_loss(self) -> str:
        """Let all who use the store know that it has lost this record, or may have. Never raises.

        The mark of the note that says so; empty where that is not known to be done, or `NO_NOTE`.
        """

    @abstractmethod
    async def read_note(self) -> Note | None:
        """What the note of losses says of this record; None if the store can hold none. Raises `StoreUnavailable`."""

    # --- What this process knows ---

    @abstractmethod
    async def known(self) -> Known:
        """What it knows by now."""

    @abstractmethod
    async def learn(self, record: Record) -> None:
        """Let it know the record's token, although no caller gets that: an older one must not take its place."""

    @abstractmethod
    async def is_under_way(self, identity: tuple[str, int]) -> bool:
        """Whether another renewal of it has sent the refresh token of this identity, and waits for an answer."""

    # --- Waiting ---

    @abstractmethod
    async def watch(self, version: str | None, seconds: float, why: str = "") -> None:
        """Wait until the record may have changed from `version`, at most `seconds`. May return early.

        Raises `CredentialClosed` where the interpreter is ending. `why`: what is waited for, in words.
        """

    @abstractmethod
    async def sleep(self, seconds: float, *, holds_the_exit: bool = False, why: str = "") -> None:
        """Let `seconds` pass. Raises `CredentialClosed` where the interpreter is ending, unless it must wait for this.

        `why`: as for `watch`.
        """

    @abstractmethod
    async def queue(self) -> bool:
        """Wait for a turn at the token endpoint's host, where renewals at once are limited; whether it took waiting.

        At once where this renewal has its turn already. `leave` and `watch` give it back: who merely waits for another
        process keeps nobody from the endpoint. Raises `CredentialClosed` where the interpreter is ending.
        """

    @abstractmethod
    async def enter(self) -> AdvisoryLock | None:
        """Take the store's hold on this credential, without waiting; None where somebody else has it."""

    @abstractmethod
    async def leave(self) -> None:
        """Release the hold, if it is held, and give the turn back."""

    # --- Time and chance ---

    @abstractmethod
    async def now(self) -> Instant:
        """Read the clocks."""

    @abstractmethod
    async def new_id(self) -> str:
        """A random name for an attempt."""

    # --- The refresher ---

    @abstractmethod
    async def prepare(self) -> None:
        """Let the refresher do what is slow and sends nothing. Raises `ConfigurationError`."""

    @abstractmethod
    async def send(self, grant: Grant, token: Token | None, ttl: float) -> Token:
        """Ask for the next token, once, within `ttl` seconds. Raises `RefreshFailure`; `Unsent` if nothing was sent."""

    @abstractmethod
    async def revoke(self, token: Token) -> str | None:
        """Tell the server that the token is not needed any more. Never raises.

        None where the refresher cannot do it, an empty text where the server confirmed it, else what went wrong.
        """

    # --- Keeping the new token ---

    @abstractmethod
    async def read_spool(self) -> Spooled | None:
        """What this host has spooled for this credential."""

    @abstractmethod
    async def write_spool(self, entry: Spooled) -> bool:
        """Keep the token in the spool file; whether that worked."""

    @abstractmethod
    async def drop_spool(self, entry: Spooled) -> None:
        """Delete the spool file, if it still holds this entry."""

    @abstractmethod
    async def clear_spool(self) -> None:
        """Delete all that this host has spooled for this credential, whether it can be read or not."""

    @abstractmethod
    async def save(self, token: Token) -> None:
        """Hand the token to the host's ``save``. Raises `SaveFailed`."""

    # --- Those who wait for this renewal ---

    @abstractmethod
    async def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        """Give the waiters their answer now; the renewal itself goes on.

        `unsaved`: the new token that nobody may be given yet, because it is saved nowhere: no other renewal of this
        process sends what this one has spent. Callers who come after an error join this renewal. No answer: they go on
        waiting.
        """

    @abstractmethod
    async def defer(self, rest: Coroutine[Any, Any, None]) -> None:
        """Go on with `rest` by and by, when this renewal is over: mostly it sleeps, and nobody waits for it.

        `rest` asks this same world.
        """

    @abstractmethod
    async def emit(self, event: Event) -> None:
        """Report an event."""
