"""The note that a store has lost records, for every process that uses the store to restore what it knows.

The process that finds its record gone may know only an old copy. Processes that know a newer one ask the store nothing
while that one is fresh. So the finder leaves a note in the store, and each process reads that one note every few
seconds.

The note is stored as an emptied record, under a key that no credential can have. A version that does not know the note
takes it for a credential that somebody logged out of.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

from onerefresh import errors
from onerefresh.chance import CHANCE
from onerefresh.real_time import monotonic
from onerefresh.record import Record, State
from onerefresh.record_text import decode, encode
from onerefresh.renewal.world import NO_NOTE, Note
from onerefresh.store import Conflict, Store, StoreOutcomeUnknown, Unreadable

__all__ = ["KEY", "Beats", "Losses", "compares", "digest", "read_losses", "read_note", "report_losses"]

KEY: Final = "\x01losses"
"""The note's key. The keys of credentials have only printable characters."""
LOST, ID, COMPARING = "lost", "id", "comparing"
"""Stored names of the note's fields.

The digests of the lost records' keys, the latest losses at the end; the note's random id; and the processes that are
still comparing their memory with the store, each with a number that grows.
"""
MOST = 1_000
"""How many losses are named. Older ones are only counted."""
MOST_COMPARING = 50
LONGEST_COMPARING = 600.0
"""Seconds without a new sign after which a comparing process counts as dead.

A process that has seen no sign for so long leaves it out of the note.
"""
TRIES, BEAT_TRIES = 20, 4
REST = 0.02
"""Most seconds before the second try, and more with each further one.

A whole fleet may find its records lost at the same time.
"""
DOWN_TRIES = 2
"""After so many failures of the store the note is given up."""


class Losses(NamedTuple):
    """What the note says.

    * `version`: the store's version of the note, or None where there is none.
    * `total`: how many records were lost. `lost`: digests of the keys of the last of them.
    * `id`: tells the note from another one that took its place after the store had lost it.
    * `comparing`: the processes that are still comparing, each with a number that grows.
    """

    version: str | None = None
    total: int = 0
    lost: tuple[str, ...] = ()
    id: str = ""
    comparing: Mapping[str, int] = MappingProxyType({})

    def since(self, earlier: Losses) -> frozenset[str] | None:
        """The digests of what was lost since `earlier` was read; None where that may be anything."""
        if self.version == earlier.version:
            return frozenset()
        new = self.total - earlier.total
        if earlier.version is None:
            return frozenset(self.lost) if new <= len(self.lost) else None
        is_other = self.version is None or self.id != earlier.id or (not self.id and not new)
        if is_other or not 0 <= new <= len(self.lost):
            return None  # the note itself was lost, or cannot be read here, or does not name them all
        before = self.lost[: len(self.lost) - new]
        if before != earlier.lost[len(earlier.lost) - len(before) :]:
            return None  # the store went back to an older note, and others have written since
        return frozenset(self.lost[len(self.lost) - new :])

    def named_since(self, earlier: Losses) -> frozenset[str]:
        """The digests of those losses since `earlier` that the note surely names."""
        found = self.since(earlier)
        if found is None and (self.id != earlier.id or self.total - earlier.total > len(self.lost)):
            return frozenset(self.lost)
        return found or frozenset()

    @property
    def mark(self) -> str:
        """A text by which a process can tell later that the note still says all that it says now."""
        return f"{self.id}:{self.total}"


def digest(key: str) -> str:
    """The digest by which the note names a credential."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_losses(store: Store) -> Losses:
    """What the store's note says now. Raises `StoreUnavailable`, and what else a user's store may raise."""
    try:
        version, record = _read(store)
    except Unreadable as error:  # written with another key, or by a newer version: its version still shows changes
        return Losses(error.version)
    return Losses(version) if record is None else _losses_in(version, record)


def read_note(store: Store, key: str) -> Note | None:
    """What the note says of `key`; None where the store can hold none. Raises `StoreUnavailable`."""
    try:
        version, record = _read(store)
    except Unreadable:
        return None
    except errors.OnerefreshError:
        raise
    except Exception:  # noqa: BLE001 - a user's store may have its own idea of what a key is
        return None
    message = Losses(version) if record is None else _losses_in(version, record)
    return Note(message.id, message.total, len(message.lost), digest(key) in message.lost, dict(message.comparing))


def report_losses(store: Store, keys: Iterable[str]) -> str:
    """Note that these records were lost. Never raises.

    Returns the mark of the note that says so; an empty text where it is not known to be written, and `NO_NOTE` where
    the store cannot hold the note, or only a newer version can write it.
    """
    new = tuple(dict.fromkeys(digest(key) for key in keys))
    return _written(store, lambda message: _with_names(message, new)) if new else ""


class Beats:
    """For how long each comparing process has given no new sign, on this process's own monotonic clock.

    Its number in the note is no time: a machine whose clock is wrong would leave out processes that are still at work.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def sees(self, message: Losses) -> None:
        """Take in what the note says now."""
        now = monotonic()
        known = self._seen
        self._seen = {
            who: known[who] if known.get(who, (None, 0.0))[0] == beat else (beat, now)
            for who, beat in message.comparing.items()
        }

    def silent(self) -> frozenset[str]:
        """The processes that seem to have died."""
        before = monotonic() - LONGEST_COMPARING
        return frozenset(who for who, (_, since) in self._seen.items() if since <= before)


def compares(store: Store, process: str, *, over: bool, silent: frozenset[str] = frozenset()) -> str:
    """Note that this process is still comparing its memory with the store, or that it has finished. Never raises.

    `silent`: the processes to leave out of the note.
    """
    tries = TRIES if over else BEAT_TRIES  # the next sign follows soon
    return _written(store, lambda message: _with_process(message, process, silent, over=over), tries)


def _read(store: Store) -> tuple[str | None, Record | None]:
    """The note's version and record; the record is None where there is none, or it is damaged."""
    found = store.load(KEY)
    if found is None:
        return None, None
    try:
        record = decode(found.body, KEY)
    except Unreadable:
        raise Unreadable("the note was written by a newer version of onerefresh", version=found.version) from None
    except errors.StoreUnavailable:
        return found.version, None
    count: object = record.generation
    return found.version, record if isinstance(count, int) else None


def _losses_in(version: str | None, record: Record) -> Losses:
    """What the note's record says."""
    message = record.unknown
    lost, name, comparing = message.get(LOST), message.get(ID), message.get(COMPARING)
    names = tuple(map(str, lost)) if isinstance(lost, list) else ()
    beats = {who: at for who, at in comparing.items() if isinstance(at, int)} if isinstance(comparing, dict) else {}
    return Losses(version, record.generation, names, name if isinstance(name, str) else "", beats)


def _with_names(message: Losses, new: tuple[str, ...]) -> Losses:
    return message._replace(total=message.total + len(new), lost=(*message.lost, *new)[-MOST:])


def _with_process(message: Losses, process: str, silent: frozenset[str], *, over: bool) -> Losses:
    beats = {who: beat for who, beat in message.comparing.items() if who != process and who not in silent}
    if not over:
        beats[process] = max(int(time.time()), message.comparing.get(process, 0) + 1)
    return message._replace(comparing=dict(list(beats.items())[-MOST_COMPARING:]))


def _written(store: Store, change: Callable[[Losses], Losses], most: int = TRIES) -> str:
    """Write what `change` makes of the note, with a few tries; its mark, an empty text, or `NO_NOTE`."""
    downs = 0
    for tries in range(most):
        time.sleep(CHANCE.uniform(0.0, REST * tries))
        try:
            version, record = _read(store)
            record = record or Record(families=(), generation=0, state=State.EMPTY)
            message = _losses_in(version, record)
            new = change(message._replace(id=message.id or secrets.token_hex(8)))
            store.cas(KEY, version, encode(_noted(record, new)))
        except (Conflict, StoreOutcomeUnknown):
            continue
        except Unreadable:
            return NO_NOTE
        except errors.OnerefreshError:
            downs += 1
            if downs == DOWN_TRIES:
                return ""
        except Exception:  # noqa: BLE001 - a user's store may have its own idea of what a key is
            return NO_NOTE
        else:
            return new.mark
    return ""


def _noted(record: Record, message: Losses) -> Record:
    """The note's record with these losses, and with what newer versions have added to it."""
    unknown = {name: value for name, value in record.unknown.items() if name != COMPARING}
    unknown |= {LOST: list(message.lost), ID: message.id}
    if message.comparing:
        unknown[COMPARING] = dict(message.comparing)
    return replace(record, generation=message.total, unknown=unknown)
