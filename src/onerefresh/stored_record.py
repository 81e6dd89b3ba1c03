"""The record of one credential in its store. What a store raises beyond its contract becomes a `StoreUnavailable`."""

from __future__ import annotations

from onerefresh import errors
from onerefresh.foreign import Seen, cleaned, store_failed
from onerefresh.real_time import monotonic
from onerefresh.record import Record
from onerefresh.record_text import decode, encode
from onerefresh.renewal.world import Loaded
from onerefresh.store import AdvisoryLock, Conflict, Store, StoreOutcomeUnknown, StoreTime, Unreadable
from onerefresh.telling import Telling

__all__ = ["StoredRecord"]

STRANGE_WRITES = 3
"""How often a write may raise an exception outside the store's contract before the renewal fails.

Until then, the renewal looks up each time whether the store has written.
"""


class StoredRecord:
    """One record, as one renewal reads and writes it.

    * `loaded_at`: when the last read began, on the monotonic clock.
    * `seen`: learns the secrets of each record, which no message may show.
    """

    def __init__(self, key: str, store: Store, seen: Seen, telling: Telling) -> None:
        self._key, self._store, self._seen, self._telling = key, store, seen, telling
        self._strange_writes = 0
        self.loaded_at = 0.0

    def load(self, *, replaces: bool, even_sealed: bool) -> Loaded:
        """The record and its version. `replaces`, `even_sealed`: which records may stay unread, as for `World.load`."""
        self.loaded_at = monotonic()
        try:
            found = self._telling.of_store(lambda: self._store.load(self._key))
        except Unreadable as error:
            if not even_sealed and not (replaces and error.damaged):
                raise
            return Loaded(error.version, None)
        except errors.OnerefreshError:
            raise
        except Exception as error:
            raise store_failed("load", error) from error
        if found is None:
            return Loaded(None, None)
        try:
            record = cleaned(decode(found.body, self._key))
        except Unreadable:
            if not even_sealed:
                raise  # a record that needs a key or a newer version is not damaged
        except errors.StoreUnavailable:
            if not replaces:
                raise
        else:
            self._seen.add(record.token)
            return Loaded(found.version, record)
        return Loaded(found.version, None)

    def cas(self, expected: str | None, record: Record) -> str:
        """Write the record where the stored one has the version `expected`; the new version."""
        self._seen.add(record.token)
        try:
            return self._telling.of_store(lambda: self._store.cas(self._key, expected, encode(record)), writes=True)
        except (Conflict, StoreOutcomeUnknown, errors.OnerefreshError):
            raise
        except Exception as error:
            self._strange_writes += 1
            if self._strange_writes > STRANGE_WRITES:
                raise store_failed("cas", error) from error
            raise StoreOutcomeUnknown(f"the store's cas raised {type(error).__name__}") from error

    def remove(self, expected: str) -> None:
        """Remove the record where it has the version `expected`."""
        try:
            self._store.remove(self._key, expected)
        except (Conflict, StoreOutcomeUnknown, errors.OnerefreshError):
            raise
        except Exception as error:
            raise store_failed("remove", error) from error

    def hold(self) -> AdvisoryLock | None:
        """The store's lock of the record; None where the store has none, or another process has it."""
        try:
            return self._store.hold(self._key)
        except errors.OnerefreshError:
            raise
        except Exception as error:
            raise store_failed("hold", error) from error

    def moment(self) -> StoreTime | None:
        """The store's clock, or None. It is a hint: what it raises must not cost the token that is to be saved."""
        try:
            return self._store.moment()
        except Exception:  # noqa: BLE001 - a user's store may raise anything
            return None
