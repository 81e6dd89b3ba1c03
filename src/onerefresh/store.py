"""The contract of a store: two operations, `load` and `cas`.

Everything else is a hint with a default that does no harm.
"""

from __future__ import annotations

import abc
import os
import weakref
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple, Protocol

from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.one_object import OneObject
from onerefresh.pause import Pause, Wakeup, after
from onerefresh.real_time import monotonic

__all__ = [
    "ENCRYPTED",
    "SEALED",
    "AdvisoryLock",
    "Conflict",
    "Store",
    "StoreOutcomeUnknown",
    "StoreTime",
    "Unreadable",
    "Versioned",
    "Wakeup",
    "is_sealed",
    "no_text",
    "reset_in_child",
    "text_of",
]

POLL = 0.2
"""Seconds between two reads of a record for which the store announces no changes."""
HEAD_START = 0.04
"""Seconds of `Store.head_start` where the first read takes a new connection.

Without it, eight processes that read and claimed at the same moment, on two cores, waited for the new token 8 ms
(Redis) or 21 ms (PostgreSQL) longer.
"""


class Conflict(Exception):
    """`cas` found another version than expected: surely nothing was written."""


class StoreOutcomeUnknown(Exception):
    """`cas` was sent and its answer was lost: it may or may not have been applied."""


class Unreadable(StoreUnavailable):
    """The record exists, in `version`, and cannot be read here: no key opens it, or a newer version wrote it.

    Only a deletion may overwrite it. Where it is `damaged`, so that nobody can read it, a login or logout may do so,
    too.
    """

    _kept: ClassVar[tuple[str, ...]] = ("credential", "generation", "version", "damaged")

    def __init__(
        self,
        message: str = "",
        *,
        credential: str | None = None,
        generation: int | None = None,
        version: str | None = None,
        damaged: bool = False,
    ) -> None:
        super().__init__(message, credential=credential, generation=generation)
        self.version = version
        self.damaged = damaged


class Versioned(NamedTuple):
    """A record's text, and the store's version of exactly this text."""

    version: str
    body: str

    def __repr__(self) -> str:
        return f"Versioned({self.version!r}, …)"  # the body holds tokens


class StoreTime(NamedTuple):
    """A reading of the store's clock, which all its users share: seconds, accurate to about a second.

    Readings of different epochs (`clock_epoch`) cannot be compared. `single_host`: an epoch is one boot of one machine,
    so that processes of earlier epochs are gone.
    """

    clock_epoch: str
    seconds: float
    single_host: bool = False


class AdvisoryLock:
    """A hint that its holder is at work on a credential; the default locks nothing.

    `death_proof`: a text that is equal for all who could not hold this lock at the same time, where the kernel releases
    it if the holder dies; None where it proves nothing.
    """

    death_proof: str | None = None

    def release(self) -> None:
        """Release the lock. Never raises."""


class Store(abc.ABC):
    """Where records live. A subclass has `load` and `cas`, which are called from any thread.

    Beside the keys of credentials, both get the key of the note in `onerefresh.losses`. It begins with a control
    character, and its record is stored like any other.

    * `name`: says which store this is, without any secret. Two stores of one name are the same place. While a store
      with a name of its own is down, a new token waits in a file on this host.
    * `durable`: a write for which `cas` returned survives a crash of the machine.
    * `may_go_back`: the store may forget such a write while its users live on, because another replica takes its place.
    * `look_every`: seconds after which a waiting process reads the record itself, since a wake-up is only a hint.
    * `head_start`: seconds. After a 401, every process but the one that refreshed last waits between half and all of
      this time before its first read, so that one can claim first. If that process is gone, or the new token is there
      already, the wait is wasted. It pays where many first reads at the same time cost more.
    * `forgets`: how a store that is not durable loses records, and what to do about it.
    """

    name: str = "a store of your own"
    durable: bool = True
    may_go_back: bool = False
    look_every: float = 0.5
    head_start: float = 0.0
    forgets: str = "its store may lose what it was given: use a durable store, or save="

    @abc.abstractmethod
    def load(self, key: str) -> Versioned | None:
        """The present record of `key`, or None. Linearizable: it sees every `cas` that has returned.

        Raises `StoreUnavailable`; `Unreadable` where only the key to the record is missing.
        """

    @abc.abstractmethod
    def cas(self, key: str, expected: str | None, body: str) -> str:
        """Write `body` if the present version is `expected` (None: there is no record); return the new version.

        Durable on return. Versions never recur. Raises `Conflict` or `StoreUnavailable` where surely nothing was
        written, and `StoreOutcomeUnknown` where that is not known.
        """

    def wait(self, key: str, version: str, timeout: float) -> None:
        """Wait until the record may have another version than `version`, for at most `timeout` seconds.

        May return early or late. Never raises. A store of your own that cannot `subscribe` may wait here: at most four
        renewals of a process call this at the same time, for 0.2 s again and again; others read the record instead.
        """
        since = monotonic()

        def begin(wake: Callable[[], object]) -> Wakeup:
            if type(self).subscribe is Store.subscribe:
                return after(POLL)
            try:
                present = self.load(key)
                if (present.version if present else "") != version:
                    return after(0.0)
                return self.subscribe(key, version, since, wake) or after(POLL)
            except StoreUnavailable:
                return after(POLL)

        Pause(timeout, begin=begin).wait_here()

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup | None:
        """Call `wake`, from any thread, once the record may have another version; None: no change can be announced.

        It returns soon, and the wait goes on without a thread until `wake` is called, which neither blocks nor raises,
        or until `Wakeup.within` is over. Never raises. A change counts from `since` on, the time on the monotonic clock
        when the read that found `version` began. If a class overrides `wait`, but neither it nor a subclass overrides
        `subscribe`, then `wait` is called instead.
        """
        return None

    def _that_waits(self) -> Store:
        """The store whose `subscribe` and `wait` are asked: this one, or the one that it wraps."""
        return self

    def hold(self, key: str) -> AdvisoryLock | None:
        """Take the lock of `key`; None where another holder has it. Never blocks. Raises `StoreUnavailable`."""
        return AdvisoryLock()

    def moment(self) -> StoreTime | None:
        """The time on the store's own clock; None where it has none. Raises `StoreUnavailable`."""
        return None

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        """Each key with its record, in any order, at least once for what is there during the whole scan.

        The records are read in pages, so that a million of them need little memory. A record that `load` could not read
        comes as the error that `load` would raise. Raises `StoreUnavailable`; `ConfigurationError` for a store that
        cannot list.
        """
        raise ConfigurationError(f"{self.name} cannot list its records: pass the keys yourself")

    def remove(self, key: str, expected: str) -> None:
        """Remove the record of `key`, with its name, if its present version is `expected`.

        Raises as `cas`, and `ConfigurationError` for a store that cannot remove records. Nothing but
        `Credentials.purge` and ``onerefresh purge`` needs it.
        """
        raise ConfigurationError(f"{self.name} cannot remove records: give its class the method `remove`")

    def seal(self, key: str, text: str) -> str:
        """`text` of `key` as it may lie in a file beside the store: encrypted, where the store encrypts.

        Raises `StoreUnavailable`.
        """
        return text

    def unseal(self, key: str, text: str) -> str:
        """The text that `seal` was given. Raises `StoreUnavailable` where no key opens it."""
        if is_sealed(text):
            raise StoreUnavailable(ENCRYPTED, credential=key)
        return text

    def close(self) -> None:  # noqa: B027 - most stores keep nothing open
        """Release what the store itself opened."""


class StoreOfOurs(OneObject, Store):
    """A store of this library: it holds connections, locks and threads, so that no other process can have it."""

    _elsewhere = "open it in the other process, from its URL or with the same arguments"


class Forkable(Protocol):
    """Something that a forked child must reset, because the threads that held its locks are not there."""

    def after_fork(self) -> None:
        """Called in the child, before anything else runs there."""


_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()


def reset_in_child(thing: Forkable) -> None:
    """Call `thing.after_fork()` in every forked child, for as long as `thing` lives."""
    _forkables.add(thing)


def _clean() -> None:
    left = list(_forkables)
    try:
        while True:
            if not left:
                break
            left[-1].after_fork()
            left.pop()
    finally:
        for thing in left:  # after Ctrl-C, which Python drops here: the child needs the others reset all the same
            thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clean)


def subscribed(store: Store, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup | None:
    """`Store.subscribe`, or None where the store has a `wait` of its own that is to be called instead."""
    for parent in type(store).__mro__:
        if "subscribe" in vars(parent):
            return store.subscribe(key, version, since, wake)
        if "wait" in vars(parent):
            return None
    return None


def text_of(stored: object) -> str | None:
    """The text that a database holds in the place of a record; None where something else was put there."""
    if isinstance(stored, (bytes, bytearray, memoryview)):
        try:
            return bytes(stored).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None
    return stored if isinstance(stored, str) else None


def no_text(key: str, version: str) -> Unreadable:
    """The error for a record of which `text_of` makes no text."""
    message = "the stored record cannot be read (it is damaged: not a text); log in again to replace it"
    return Unreadable(message, credential=key, version=version, damaged=True)


SEALED = '{"sealed":'
"""How an encrypted text begins."""
ENCRYPTED = "it is encrypted: open its store as an EncryptedStore, with its key; nothing was changed"


def is_sealed(text: str) -> bool:
    """Whether the text is encrypted: only a store that has its key can read it."""
    return text.startswith(SEALED)


def is_shared(store: Store) -> bool:
    """Whether other processes may share this store; False where it is the memory of one process."""
    return store.durable or store.may_go_back
