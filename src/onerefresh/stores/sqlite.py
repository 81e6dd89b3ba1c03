"""The SQLite store: the embedded default, for all processes of one machine.

Rollback journal and the strictest synchronisation: never WAL (SQLite before 3.51.3 can lose a committed WAL
transaction), and never a transaction held across the network. A connection lives for one operation, so nothing is
shared with a forked child and nothing is open in between.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.store import POLL, Conflict, Hold, Moment, Store, StoreOutcomeUnknown, Versioned
from onerefresh.stores.flock import FlockHold, Parking, boot, lock_path, shared_seconds

__all__ = ["SQLiteStore"]

BUSY_SECONDS = 5.0
APPLICATION_ID = 0x6F6E6572  # "oner", in the file's header: this file is ours
SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY NOT NULL,
    version TEXT NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID
"""
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gfs2", "lustre",
        "ncpfs", "nfs", "nfs4", "ocfs2", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs",
    }
)  # fmt: skip


class SQLiteStore(Store):
    """Records in one SQLite file, 0600 in a folder that nobody else can write to.

    Raises `ConfigurationError` where the path can never be used, and `StoreUnavailable`, each saying what to do, where
    the file cannot be read or written now.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        self.name = f"sqlite:///{self.path}"
        self._parkings: dict[str, Parking] = {}
        refuse_network_file_system(self.path)

    def load(self, key: str) -> Versioned | None:
        if not self.path.exists():
            self._check_folder()
            return None
        with self._connected() as database:
            row = database.execute("SELECT version, body FROM records WHERE key = ?", (key,)).fetchone()
        return Versioned(*row) if row else None

    def cas(self, key: str, expected: str | None, body: str) -> str:
        version = secrets.token_hex(8)
        try:
            with self._connected() as database:
                database.execute("BEGIN IMMEDIATE")
                if expected is None:
                    statement = "INSERT INTO records (version, body, key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
                    changed = database.execute(statement, (version, body, key)).rowcount
                else:
                    statement = "UPDATE records SET version = ?, body = ? WHERE key = ? AND version = ?"
                    changed = database.execute(statement, (version, body, key, expected)).rowcount
                if changed != 1:
                    database.execute("ROLLBACK")
                    raise Conflict(key)
                self._commit(database)
        finally:
            del body  # it holds tokens, and would show in a traceback with locals
        return version

    def _commit(self, database: sqlite3.Connection) -> None:
        try:
            database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if database.in_transaction:
                database.execute("ROLLBACK")  # surely not applied
                raise
            raise StoreOutcomeUnknown(str(error)) from None

    def wait(self, key: str, version: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        parking = self._parkings.setdefault(key, Parking(lock_path(self.path, key)))
        if not parking.wait(timeout):
            return
        # Nobody holds the credential: whoever works on it does so without the hold, so look from time to time.
        with contextlib.suppress(StoreUnavailable):
            present = self.load(key)
            if present is None or present.version != version:
                return
        time.sleep(max(min(POLL, deadline - time.monotonic()), 0.0))

    def hold(self, key: str) -> Hold | None:
        self._make_folder()
        return FlockHold.take(lock_path(self.path, key))

    def moment(self) -> Moment | None:
        era, seconds = boot(), shared_seconds()
        return None if era is None or seconds is None else Moment(era, seconds)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection for one operation; whatever goes wrong comes out as `StoreUnavailable`."""
        self._make_file()
        try:
            with contextlib.closing(self._connect()) as database:
                yield database
        except sqlite3.Error as error:
            explained = _explained(error, self.path)
        else:
            return
        raise StoreUnavailable(explained)

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            (application,) = database.execute("PRAGMA application_id").fetchone()
            if application != APPLICATION_ID:
                self._adopt(database, application)
            (mode,) = database.execute("PRAGMA journal_mode = DELETE").fetchone()
            if mode != "delete":
                raise StoreUnavailable(f"{self.path} is in journal mode {mode}, and cannot be set to DELETE now")
            database.execute("PRAGMA synchronous = EXTRA")
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA temp_store = MEMORY")
        except BaseException:
            database.close()
            raise
        return database

    def _adopt(self, database: sqlite3.Connection, application: int) -> None:
        """Make an empty file ours; leave another program's as it is."""
        database.execute("BEGIN IMMEDIATE")
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master WHERE name <> 'records'").fetchone()
        if application not in (0, APPLICATION_ID) or tables:
            database.execute("ROLLBACK")
            raise StoreUnavailable(f"{self.path} is another program's database: name another file for the store")
        database.execute(SCHEMA)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("COMMIT")

    def _make_file(self) -> None:
        self._make_folder()
        try:
            # The file exists, private, before SQLite opens it: SQLite would make it with the umask's permissions.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            check_private(self.path)
        except OSError as error:
            raise StoreUnavailable(f"{self.path} cannot be made: {error.strerror}") from None

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the folder {self.path.parent} cannot be made: {error.strerror}") from None
        self._check_folder()

    def _check_folder(self) -> None:
        folder = self.path.parent
        with contextlib.suppress(FileNotFoundError):
            mode = folder.stat().st_mode
            if not stat.S_ISDIR(mode):
                raise StoreUnavailable(f"{folder} is not a folder")
            if os.name != "nt" and mode & 0o022 and not mode & stat.S_ISVTX:
                raise StoreUnavailable(
                    f"others can write to the folder {folder}, and so replace the store: run chmod go-w {folder}"
                )


def check_private(path: Path) -> None:
    """Raise `StoreUnavailable` where others own or can read the file."""
    try:
        found = path.stat()
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnavailable(f"{path} is not a file")
    if os.name == "nt":
        return
    if found.st_uid != os.geteuid():
        raise StoreUnavailable(f"{path} belongs to another user (uid {found.st_uid}): name a file of your own")
    if found.st_mode & 0o077:
        raise StoreUnavailable(
            f"others can read {path}: run chmod 600 {path}, and log in again if they may have done so"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreUnavailable(f"{path} cannot be read and written: run chmod 600 {path}")


def _explained(error: sqlite3.Error, path: Path) -> str:
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"{path} is damaged ({name}): move it away and log in again; nothing was changed"
    if name.startswith("SQLITE_FULL"):
        return f"the disk with {path} is full; nothing was changed"
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN")):
        return f"{path} or its folder cannot be written ({name}); nothing was changed"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{path} was locked by another process for {BUSY_SECONDS:.0f} s; nothing was changed"
    return f"{path}: {error} ({name})"


def refuse_network_file_system(path: Path, mounts: str | None = None) -> None:
    """Raise `ConfigurationError` where `path` lies on a network file system: locks do not hold there.

    `mounts`: the text of ``/proc/self/mounts``; read where there is one.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape")
        except OSError:
            return  # this system has no such list
    real = Path(os.path.realpath(path))
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        depth = len(point.parts)
        if real.is_relative_to(point) and depth >= best:
            best, kind = depth, fields[2]
    if kind in NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(
            f"{path} is on a network file system ({kind}), where file locks do not hold: "
            "use a local path, or a server such as redis:// or postgresql://"
        )
