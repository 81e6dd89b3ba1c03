"""A note in a store that it has lost records, so that every process which uses it brings back what it knows.

The process that finds its record gone may know only an old copy. Those that know a newer one ask the store nothing for
as long as that one is fresh. So the finder leaves a note, and each process reads that one note every few seconds.

The note is stored as a record that was emptied, under a name that no credential can have: a version that does not know
it takes it for a credential that somebody logged out of.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from onerefresh import errors
from onerefresh.record import Record, State
from onerefresh.record_text import decode, encode
from onerefresh.store import Conflict, Store, Unreadable

__all__ = ["JITTER", "KEY", "Losses", "digest", "read_losses", "report_losses"]

KEY: Final = "\x01losses"
"""The note's name: a credential's has only printable characters."""
LOST = "lost"
"""The stored name of the digests of the lost records' names, those that were lost last at the end."""
MOST = 100
"""So many are named; of more it is only said how many they are."""
TRIES = 20
REST = 0.02
"""Seconds before the next try, at most, and longer with each one: a whole fleet may find its records lost at once."""
JITTER: Final = random.SystemRandom()
"""Used in the background, so it must not change what the program itself draws from the `random` module."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What the note says. `count`: how many records were lost. `lost`: digests of the names of the last of them.

    `version`: the store's mark of the note, or None where there is none.
    """

    version: str | None = None
    count: int = 0
    lost: tuple[str, ...] = ()

    def since(self, earlier: Losses) -> frozenset[str] | None:
        """The digests of what was lost since `earlier` was read; None where it may have been anything."""
        if self.version == earlier.version:
            return frozenset()
        new = self.count - earlier.count
        if self.version is None or not 0 < new <= len(self.lost):
            return None  # the note itself was lost, or cannot be read here, or does not name them all
        return frozenset(self.lost[-new:])


def digest(key: str) -> str:
    """By what the note names a credential."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_losses(store: Store) -> Losses:
    """What the store's note says now. Raises `StoreUnavailable`, and what else a store of the user's may raise."""
    try:
        found = store.load(KEY)
    except Unreadable as error:  # written by somebody with another key
        return Losses(error.version)
    if found is None:
        return Losses()
    try:
        record = decode(found.body, KEY)
    except errors.StoreUnavailable:  # damaged, or of a newer version: that it changes says something
        return Losses(found.version)
    lost = record.unknown.get(LOST)
    names = tuple(map(str, lost)) if isinstance(lost, list) else ()
    return Losses(found.version, record.generation, names)


def report_losses(store: Store, keys: Iterable[str]) -> bool:
    """Note that these records were lost; whether that is known to be done. Never raises.

    It is a hint: whoever cannot write it has written what it knows itself all the same.
    """
    new = [digest(key) for key in keys]
    try:
        for tries in range(TRIES if new else 0):
            time.sleep(JITTER.uniform(0.0, REST * tries))
            now = read_losses(store)
            record = Record(families=(), generation=now.count + len(new), state=State.EMPTY)
            noted = replace(record, unknown={LOST: [*now.lost, *new][-MOST:]})
            try:
                store.cas(KEY, now.version, encode(noted))
            except Conflict:
                continue
            return True
    except Exception:  # noqa: BLE001 - as just said: a store of the user's may have its own idea of what a key is
        return False
    return not new
