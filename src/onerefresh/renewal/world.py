"""What a renewal needs from outside: the store, clocks, the token endpoint, the spool, its callers.

The protocol itself touches no clock, lock, socket, thread or logger. So the same code runs over real stores and
servers, and over simulated ones in which tests produce any order of events and any fault. The driver decides what a
call costs: in production a call returns at once or blocks its thread. Only `watch`, `sleep` and `queue` may suspend,
and `load` while many others read from the same store, or did so until now.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from onerefresh import errors
from onerefresh.events import Event
from onerefresh.record import Grant, Record
from onerefresh.renewal.clocks import Instant, Sent
from onerefresh.renewal.known import Known
from onerefresh.store import AdvisoryLock
from onerefresh.token import Token
from onerefresh.unknown_fields import unknown_fields
from onerefresh.verdict import RefreshFailure


class Loaded(NamedTuple):
    """What the store holds: the version and the record, each None where there is no record."""

    version: str | None
    record: Record | None


class Unsent(RefreshFailure):
    """The refresher surely sent nothing, because its event loop ended before it began."""


class NotSent(errors.RefreshUnavailable):
    """The error with which a renewal ends after `Unsent`: callers on another event loop may ask again at once."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A new token that is not committed yet: the answer to `attempt`, which spent `generation` of `family`.

    * `refused`: the API had refused the token before it.
    * `repeated`: the server may have repeated its answer to an earlier request.
    * `useless`: why the answer's access token cannot be used; `token` then has the old access token in its place.
    * `owner`, `families`: as in `Record`; earlier versions wrote no families.
    * `skew`: the `clock_skew` of the token, whose own text has none.
    * `unknown`: what a newer version stored with the entry.
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
    families: tuple[str, ...] = ()
    skew: float | None = None
    unknown: Mapping[str, object] = unknown_fields()

    @property
    def earlier(self) -> tuple[str, ...]:
        """The families of the sessions before the one of this answer, as far as they are known."""
        return tuple(family for family in self.families if family != self.family)

    def as_next(self) -> Token:
        """The token, numbered as the generation that it will become."""
        is_new = self.grant is Grant.OBTAIN
        return self.token.numbered(self.token.seed_fingerprint() if is_new else self.family, self.generation + 1)


NO_NOTE = "-"
"""The mark for a store that can hold no note.

Such a store refuses the note's key, or has a note that only a newer version can write.
"""


class Note(NamedTuple):
    """What the store's note of losses says to a process that is about to take over a recovery lease.

    * `id`, `total`: the note's id, and the number of losses in it.
    * `names`: how many of those losses it names; `is_named`: whether this record is among them.
    * `comparing`: the processes that are still comparing their memory with the store, each with a number that grows.
    """

    id: str
    total: int
    names: int
    is_named: bool
    comparing: Mapping[str, int] = MappingProxyType({})

    def still_says(self, mark: str) -> bool:
        """Whether the loss that was noted with `mark` is in the note, or was until newer losses displaced it."""
        name, _, count = mark.rpartition(":")
        if not count.isdecimal() or name != self.id or int(count) > self.total:
            return False
        return self.is_named or self.total - int(count) >= self.names


class World(ABC):
    """Everything that one renewal, or one command of a person, can do and learn."""

    # --- The store ---

    @abstractmethod
    async def load(self, *, replaces: bool = False, even_sealed: bool = False) -> Loaded:
        """Read the record. Raises `StoreUnavailable`.

        `replaces`: the caller replaces the record whatever it says, so a damaged one counts as none. `even_sealed`: so
        does a record that no key opens, or that only a newer version can read.
        """

    @abstractmethod
    async def cas(self, expected: str | None, record: Record) -> str:
        """Write the record if the version is still `expected`; return the new version.

        Raises what `Store.cas` raises.
        """

    @abstractmethod
    async def remove(self, expected: str) -> None:
        """Remove the record if the version is still `expected`. Raises what `Store.remove` raises."""

    @abstractmethod
    async def report_loss(self) -> str:
        """Note in the store that this record is lost, or may be, so that all users of the store learn of it.

        Never raises. Returns the mark of the note that says so, an empty text where it is not known to be written, or
        `NO_NOTE`.
        """

    @abstractmethod
    async def read_note(self) -> Note | None:
        """What the note of losses says of this record; None if the store can hold none. Raises `StoreUnavailable`."""

    # --- This process's memory ---

    @abstractmethod
    async def known(self) -> Known:
        """What this process knows by now."""

    @abstractmethod
    async def learn(self, record: Record, skew: float) -> None:
        """Remember the record's token although no caller gets it, so that no older token replaces it in the store.

        `skew`: seconds by which this machine's clock is ahead of the clock by which the token is dated.
        """

    @abstractmethod
    async def is_under_way(self, identity: tuple[str, int]) -> bool:
        """Whether another renewal of this process has sent the refresh token of this identity and awaits the answer."""

    # --- Waiting ---

    @abstractmethod
    async def watch(self, version: str | None, seconds: float, why: str = "") -> None:
        """Wait until the record may have changed from `version`, for at most `seconds`. May return early.

        Raises `CredentialClosed` where the interpreter is ending. `why`: what the renewal waits for, in words.
        """

    @abstractmethod
    async def sleep(self, seconds: float, *, holds_the_exit: bool = False, why: str = "") -> None:
        """Wait for `seconds`.

        Raises `CredentialClosed` where the interpreter is ending, unless `holds_the_exit`. `why`: as for `watch`.
        """

    @abstractmethod
    async def queue(self) -> bool:
        """Wait for a turn at the token endpoint's host, which limits concurrent renewals; whether a wait was needed.

        Returns at once where this renewal has its turn already. `leave` and `watch` give the turn back, so that a
        renewal that merely waits for another process does not keep others from the endpoint. Raises `CredentialClosed`
        where the interpreter is ending.
        """

    @abstractmethod
    async def enter(self) -> AdvisoryLock | None:
        """Take the store's lock on this credential without waiting; None where another holder has it."""

    @abstractmethod
    async def leave(self) -> None:
        """Release the lock, if it is held, and give the turn back."""

    # --- Clocks and random numbers ---

    @abstractmethod
    async def now(self) -> Instant:
        """Read the clocks."""

    @abstractmethod
    async def new_id(self) -> str:
        """A random name for an attempt."""

    # --- The refresher ---

    @abstractmethod
    async def prepare(self) -> None:
        """Let the refresher do its slow preparations, which send no token request. Raises `ConfigurationError`."""

    @abstractmethod
    async def send(self, grant: Grant, token: Token | None, ttl: float, claim: Sent | None = None) -> Token:
        """Ask for the next token, once, within `ttl` seconds, under `claim`; None: under no claim.

        Raises `RefreshFailure`; `Unsent` if nothing was sent.
        """

    @abstractmethod
    async def revoke(self, token: Token) -> str | None:
        """Revoke the token at the server. Never raises.

        Returns None where the refresher cannot revoke, an empty text where the server confirmed it, else what went
        wrong.
        """

    # --- Spool and `save=` ---

    @abstractmethod
    async def read_spool(self) -> Spooled | None:
        """A new token that this host has spooled for this credential; None if there is none."""

    @abstractmethod
    async def write_spool(self, entry: Spooled) -> bool:
        """Keep the token in the spool file; whether that worked."""

    @abstractmethod
    async def drop_spool(self, entry: Spooled) -> None:
        """Delete the spool file, if it still holds this entry."""

    @abstractmethod
    async def clear_spool(self) -> None:
        """Delete everything that this host has spooled for this credential, readable or not."""

    @abstractmethod
    async def save(self, token: Token) -> None:
        """Hand the token to the host application's ``save``. Raises `SaveFailed`."""

    # --- Callers, background work and events ---

    @abstractmethod
    async def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        """Answer the waiting callers now, while the renewal goes on.

        `answer`: an `Outcome`, an error, or None: the callers go on waiting. `unsaved`: a new token that no caller may
        get yet because it is saved nowhere. Meanwhile no other renewal of this process sends the refresh token that was
        spent for it, and callers who come after the error join this renewal.
        """

    @abstractmethod
    async def defer(self, rest: Coroutine[Any, Any, None]) -> None:
        """Run `rest` in the background when this renewal is over: it mostly sleeps, and no caller waits for it.

        `rest` uses this same world.
        """

    @abstractmethod
    async def emit(self, event: Event) -> None:
        """Report an event."""
