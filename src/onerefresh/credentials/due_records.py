"""The records that one run over many credentials reads, and the time by which it judges them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator

from onerefresh import errors, losses
from onerefresh.credential.arguments import check_key
from onerefresh.credential.registry import known_tokens
from onerefresh.credentials.due_filter import error_of
from onerefresh.credentials.reading import Reader
from onerefresh.foreign import Seen, cleaned, store_failed, vetted
from onerefresh.real_time import monotonic
from onerefresh.record import Record
from onerefresh.record_text import decode
from onerefresh.redaction import Redactor
from onerefresh.renewal.clocks import Instant
from onerefresh.store import Store, StoreTime, Versioned

__all__ = ["DueRecords", "Found"]

Found = tuple[str, Versioned | errors.OnerefreshError | None]
READ_EVERY = 1.0
"""Seconds between two readings of the store's clock, which may take a request."""


class DueRecords:
    """The records of one run. No error shows what it quotes of a record.

    * `store`: whose clock counts; `reads`: where records are read.
    * `check`: called now and then; raises where the run has to stop.
    """

    def __init__(self, store: Store, reads: Store, check: Callable[[], None]) -> None:
        self._store, self._reads = store, reads
        self._reader = Reader(reads, check)
        self._moment: StoreTime | None = None
        self._read_at = -math.inf

    def end(self) -> None:
        """Read no further."""
        self._reader.end()

    def all(self) -> Iterator[Found]:
        """Each key of the store, with its record. Raises `StoreUnavailable` where they cannot be listed."""
        for key, found in self._reader.scan():
            if key != losses.KEY:
                yield key, self._vetted(key, found) if isinstance(found, errors.StoreUnavailable) else found

    def named(self, keys: Iterable[str]) -> Iterator[Found]:
        """Each of these keys, with its record, or with what is wrong with the key."""
        return self._reader.each(keys, self._looked_up)

    def _looked_up(self, key: str) -> Versioned | errors.OnerefreshError | None:
        try:
            check_key(key)
        except errors.ConfigurationError as error:
            return error_of(error)
        return self._load(key)

    def record(self, key: str) -> Record | None:
        """The record of one key as it is now. Raises `StoreUnavailable`."""
        found = self._reader.ask(lambda: self._load(key))
        if isinstance(found, errors.StoreUnavailable):
            raise found
        return None if found is None else cleaned(decode(found.body, key))

    def _load(self, key: str) -> Versioned | errors.StoreUnavailable | None:
        try:
            return self._reads.load(key)
        except errors.StoreUnavailable as error:
            return self._vetted(key, error)
        except Exception as error:  # noqa: BLE001 - a user's store may raise anything, and the others go on
            failed = store_failed("load", error)
            failed.__cause__ = vetted(error, self._redactor(key)).with_traceback(None)
            return failed

    def _vetted(self, key: str, error: errors.StoreUnavailable) -> errors.StoreUnavailable:
        checked = vetted(error, self._redactor(key)).with_traceback(None)
        assert isinstance(checked, errors.StoreUnavailable)
        return checked

    def _redactor(self, key: str) -> Redactor:
        """A redactor that knows the tokens of the credential in memory: a store may repeat what it holds."""
        return Seen(known_tokens(self._store, key), None).redactor()

    def now(self) -> Instant:
        """The time. The store's clock is read once a second, and goes on with this machine's in between."""
        wall, at = time.time(), monotonic()
        if at - self._read_at >= READ_EVERY:
            try:
                self._moment = self._store.moment()
            except Exception:  # noqa: BLE001 - a user's store may raise anything, and its clock is a hint
                self._moment = None
            self._read_at = at
        return Instant(wall, at, self._moment, 0.0)
