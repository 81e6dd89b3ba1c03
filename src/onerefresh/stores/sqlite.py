"""The SQLite store: the embedded default, for all processes of one machine.

It uses a rollback journal and the strictest synchronisation. It never uses WAL (SQLite before 3.51.3 can lose a
committed WAL transaction), and never holds a transaction across the network. A connection lives for one operation, so
nothing is shared with a forked child, and nothing is open between operations.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from onerefresh.chance import CHANCE
from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.locks import Within
from onerefresh.pause import Wakeup
from onerefresh.private_files import absolute, check_file, make_folder
from onerefresh.real_time import monotonic
from onerefresh.safe_folders import trust
from onerefresh.secret import Secret
from onerefresh.store import (
    AdvisoryLock,
    Conflict,
    StoreOfOurs,
    StoreOutcomeUnknown,
    StoreTime,
    Versioned,
    no_text,
    text_of,
)
from onerefresh.stores.flock import FlockHold, LockWaiter, boot, lock_path, shared_seconds
from onerefresh.stores.forking import fork_lock
from onerefresh.stores.network_filesystems import refuse_network_file_system
from onerefresh.stores.subscriber import CHANGED

__all__ = ["SQLiteStore"]

T = TypeVar("T")
PAGE = 100
BESIDE = ("-journal", "-wal", "-shm")
"""Endings of the files beside the database that SQLite reads and writes as a part of it."""
BUSY_SECONDS = 5.0
BUSY_SLEEPS = (0.0005, 0.004)
"""Seconds between two tries to get a lock of SQLite's. Such locks are held for milliseconds."""
LONG, LONG_SLEEPS = 0.5, (0.005, 0.02)
"""After so many seconds a lock counts as held for long, and the sleeps are those of `LONG_SLEEPS`."""
COMMITTING = 0.05
"""Seconds for which a commit waits for present readers. Meanwhile no other one can begin."""
APPLICATION_ID = 0x6F6E6572  # "oner", in the file's header: the file is this library's
# Not WITHOUT ROWID: such a table stores all of a record but its first kilobyte on a page of its own.
TABLE = """
CREATE TABLE records (
    key TEXT PRIMARY KEY NOT NULL,
    version TEXT NOT NULL,
    body TEXT NOT NULL
)
"""


# Another program may have written a value that is no text, or text that is not UTF-8. Neither prevents a login.
VERSION = "SELECT coalesce(CAST(version AS TEXT), '') FROM records WHERE key = ?"
ROW = "SELECT coalesce(CAST(version AS TEXT), ''), CAST(body AS BLOB) FROM records WHERE key = ?"
# A key that is no text belongs to no credential.
ROWS = """
SELECT key, coalesce(CAST(version AS TEXT), ''), CAST(body AS BLOB) FROM records
WHERE typeof(key) = 'text' AND key > CAST(? AS TEXT) ORDER BY key LIMIT ?
"""


class SQLiteStore(StoreOfOurs):
    """Records in one SQLite file, 0600, in a folder to which no other user can write.

    `trusted_folders`: folders in which other users own something or can write, and are trusted. They are written as in
    the variable ``ONEREFRESH_TRUSTED_FOLDERS``, and add to it.

    Raises `ConfigurationError` where the path can never be used, and `StoreUnavailable` where the file cannot be read
    or written now. Each message says what to do.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str], *, trusted_folders: str = "") -> None:
        self._given, self.path = _real(path)
        self.name = f"sqlite:///{self.path}"
        self._address = f"{self.path.as_uri()}?mode=rw"  # SQLite must not make a missing file, with other permissions
        self._trusted = trust(trusted_folders)
        self._lock_waiter = LockWaiter(self._trusted)
        refuse_network_file_system(self.path)

    def load(self, key: str) -> Versioned | None:
        return self._in_turn(lambda: self._load(key))

    def cas(self, key: str, expected: str | None, body: str) -> str:
        version, text = secrets.token_hex(8), Secret(body)
        del body  # it holds tokens, and would show in a traceback with locals

        def save() -> None:
            self._make_file()
            self._connected(lambda database: self._save(database, key, expected, version, text))

        self._in_turn(save)
        return version

    def remove(self, key: str, expected: str) -> None:
        self._in_turn(lambda: self._remove(key, expected))

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup | None:
        with contextlib.suppress(StoreUnavailable):
            found = self._lock_waiter.subscribe(lock_path(self.path, key), wake)
            if found is not None:
                return found
            # Nobody holds the lock: its last holder may have written since the record was read. And a process may be at
            # work without it, so the record is read from time to time.
            present = self.load(key)
            if (present.version if present else "") != version:
                return CHANGED
        return None

    def hold(self, key: str) -> AdvisoryLock | None:
        self._make_folder()
        return FlockHold.take(lock_path(self.path, key), self._trusted)

    def moment(self) -> StoreTime | None:
        clock_epoch = boot()
        return StoreTime(clock_epoch, shared_seconds(), single_host=True) if clock_epoch else None

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        after = ""
        while page := self._page(after):
            for key, version, body in page:
                text = text_of(body)
                yield key, no_text(key, version) if text is None else Versioned(version, text)
            after = page[-1][0]

    def _page(self, after: str) -> list[tuple[str, str, bytes]]:
        return self._in_turn(lambda: self._load_page(after))

    def _load(self, key: str) -> Versioned | None:
        if not self._is_there():
            return None
        return self._connected(lambda database: self._read(database, key))

    def _load_page(self, after: str) -> list[tuple[str, str, bytes]]:
        if not self._is_there():
            return []
        return self._connected(lambda database: self._read_page(database, after))

    def _is_there(self) -> bool:
        """Whether the file exists.

        Raises `StoreUnavailable` where another user may have had a hand in it, or in the files that SQLite reads beside
        it.
        """
        self._check_links()
        return check_file(self.path, self._trusted, link=False, beside=BESIDE)

    def _in_turn(self, operation: Callable[[], T]) -> T:
        """Perform the operation once the file is free.

        Between two tries, forks and operations on other files can proceed. SQLite's own busy handler is not used: it
        would wait in the middle of the operation, and it sleeps for whole seconds where SQLite was built without
        usleep, as in Debian.
        """
        began = monotonic()
        while True:
            try:
                with self._undivided():
                    return operation()
            except _Busy as busy:
                waited = monotonic() - began
                if waited >= BUSY_SECONDS:
                    reason = busy.message
                    break
            time.sleep(CHANCE.uniform(*(BUSY_SLEEPS if waited < LONG else LONG_SLEEPS)))
        raise StoreUnavailable(reason)

    def _undivided(self) -> Within:
        """Allow one operation at a time in this process, and no fork during it."""
        message = f"{self.path} was busy in this process for {BUSY_SECONDS:.0f} s"
        return fork_lock.within(BUSY_SECONDS, lambda: StoreUnavailable(message))

    def _connected(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` makes of a new connection. Raises `_Busy` or `StoreUnavailable` where something goes wrong.

        It does not use ``with``: after an interrupt at the beginning or end of the block, the connection would stay
        open, and with it a lock on the file, for as long as the traceback is kept.
        """
        connection = None
        try:
            try:
                connection = sqlite3.connect(self._address, uri=True, timeout=0.0, isolation_level=None)
                # Python's error would quote text that is not UTF-8, and this text may hold tokens.
                connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
                return work(connection)
            finally:
                if connection is not None:
                    connection.close()
        except sqlite3.Error as error:
            failed = (_Busy if _is_busy(error) else StoreUnavailable)(_explained(error, self.path))
        raise failed

    def _read(self, database: sqlite3.Connection, key: str) -> Versioned | None:
        # One transaction: another process may make the table between two of these statements.
        database.execute("BEGIN")
        if self._is_blank(database):
            return None
        row = database.execute(ROW, (key,)).fetchone()
        if row is None:
            return None
        version, text = row[0], text_of(row[1])
        del row  # it may hold tokens, as in `cas`
        if text is None:
            raise no_text(key, version)
        return Versioned(version, text)

    def _read_page(self, database: sqlite3.Connection, after: str) -> list[tuple[str, str, bytes]]:
        database.execute("BEGIN")
        if self._is_blank(database):
            return []
        begins = (after.encode("utf-8", "surrogateescape"), PAGE)
        page: list[tuple[str, str, bytes]] = database.execute(ROWS, begins).fetchall()
        return page

    def _save(self, database: sqlite3.Connection, key: str, expected: str | None, version: str, body: Secret) -> None:
        self._begin(database)
        if not self._write(database, key, expected, version, body.reveal()):
            database.execute("ROLLBACK")
            raise Conflict(key)
        self._commit(database, key, version)

    def _remove(self, key: str, expected: str) -> None:
        if not self._is_there():
            raise Conflict(key)
        self._connected(lambda database: self._delete(database, key, expected))

    def _delete(self, database: sqlite3.Connection, key: str, expected: str) -> None:
        self._begin(database)
        row = database.execute(VERSION, (key,)).fetchone()
        if row is None or row[0] != expected:
            database.execute("ROLLBACK")
            raise Conflict(key)
        database.execute("DELETE FROM records WHERE key = ?", (key,))
        try:
            _committed(database)
        except sqlite3.Error as error:
            if database.in_transaction:
                raise  # surely not applied, as in `_commit`
            reason = str(error)
        else:
            return
        raise StoreOutcomeUnknown(f"{self.path}: {reason}")

    def _begin(self, database: sqlite3.Connection) -> None:
        """Begin a transaction with the write lock, in a file of this library's."""
        (mode,) = database.execute("PRAGMA journal_mode = DELETE").fetchone()
        if mode != "delete":
            raise StoreUnavailable(f"{self.path} is in journal mode {mode}, and cannot be set to DELETE now")
        database.execute("PRAGMA synchronous = EXTRA")
        database.execute("PRAGMA secure_delete = ON")
        database.execute("BEGIN IMMEDIATE")
        if self._is_blank(database):
            database.execute(TABLE)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def _is_blank(self, database: sqlite3.Connection) -> bool:
        """Whether nothing was ever stored here. Another program's file is left as it is."""
        (application,) = database.execute("PRAGMA application_id").fetchone()
        if application == APPLICATION_ID:
            return False
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application or tables:
            raise StoreUnavailable(f"{self.path} is another program's database: use another file for the store")
        return True

    def _write(self, database: sqlite3.Connection, key: str, expected: str | None, version: str, body: str) -> bool:
        """Write the record; whether the present version was the expected one."""
        try:
            row = database.execute(VERSION, (key,)).fetchone()
            if (row[0] if row else None) != expected:
                return False
            statement = """
                INSERT INTO records (version, body, key) VALUES (?, ?, ?)
                ON CONFLICT (key) DO UPDATE SET version = excluded.version, body = excluded.body
            """
            return database.execute(statement, (version, body, key)).rowcount == 1
        finally:
            del body  # it holds tokens, and would show in a traceback with locals

    def _commit(self, database: sqlite3.Connection, key: str, version: str) -> None:
        """Commit, and find out after an error whether the write was applied."""
        try:
            _committed(database)
        except sqlite3.Error as error:
            if database.in_transaction:
                raise  # surely not applied: closing the connection rolls it back
            reason = str(error)
        else:
            return
        try:
            present = self._connected(lambda again: self._read(again, key))
        except StoreUnavailable:
            raise StoreOutcomeUnknown(f"{self.path}: {reason}") from None
        if present is not None and present.version == version:
            raise StoreOutcomeUnknown(f"{self.path}: {reason}")  # applied, but perhaps not yet durable
        raise StoreUnavailable(f"{self.path}: {reason}; nothing was changed")

    def _check_links(self) -> None:
        """Make sure that no other user made the links on the given path, which was followed once, at the beginning."""
        if self._given != self.path:
            check_file(self._given, self._trusted)

    def _make_folder(self) -> None:
        self._check_links()
        make_folder(self.path.parent, self._trusted, wanted=self.path.name)

    def _make_file(self) -> None:
        self._make_folder()
        try:
            # The file exists, private, before SQLite opens it: SQLite would make it with the umask's permissions.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise StoreUnavailable(f"{self.path} cannot be created: {error.strerror}") from None
        if not self._is_there():
            raise StoreUnavailable(f"{self.path} has just disappeared; nothing was changed")


class _Busy(StoreUnavailable):
    """Another process holds SQLite's lock on the file; nothing was changed."""


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")


def _committed(database: sqlite3.Connection) -> None:
    """Commit, once the present readers have finished."""
    deadline = monotonic() + COMMITTING
    while True:
        try:
            database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or monotonic() >= deadline:
                raise
        else:
            return
        time.sleep(CHANCE.uniform(*BUSY_SLEEPS))


def _real(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The path as given, and the file to which it leads.

    Users of one file share one store and one lock, whatever they call it.
    """
    try:
        given = absolute(path)
        return given, Path(os.path.realpath(given))
    except ValueError as error:
        raise ConfigurationError(f"not a usable path for a store: {os.fspath(path)!r} ({error})") from None


def _explained(error: sqlite3.Error, path: Path) -> str:
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"{path} is damaged ({name}): move it away and log in again; nothing was changed"
    if name.startswith("SQLITE_FULL"):
        return f"the disk that holds {path} is full; nothing was changed"
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN")):
        return f"{path} or its folder cannot be written ({name}); nothing was changed"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{path} was locked by another process for {BUSY_SECONDS:.0f} s; nothing was changed"
    return f"{path}: {error} ({name})"
