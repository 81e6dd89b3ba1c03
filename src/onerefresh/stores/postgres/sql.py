"""The table of the PostgreSQL store and its statements, as mere text.

With a pooler in between (PgBouncer in transaction mode), the next statement on a connection may be another client's. So
each statement is a transaction of its own, prepares nothing and leaves no setting behind.
"""
# ruff: noqa: S608 - what is put into a statement is the table's name, which was checked, and text from here

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from onerefresh.errors import ConfigurationError

__all__ = ["DEFAULT_TABLE", "PAGE", "Channel", "Statements"]

DEFAULT_TABLE = "onerefresh_records"
PAGE = 100
LONGEST_NAME = 63
LOCKS = 32
"""Advisory locks for all records of a table: the server has room for some thousands, shared with all other programs."""

# What each answer states in addition: the server's clock, when the server started, whether it is a standby, and whether
# a standby follows it asynchronously (then a failover may lose what it has acknowledged).
SERVER_STATE = """\
extract(epoch FROM clock_timestamp())::text,
       extract(epoch FROM pg_postmaster_start_time())::text,
       pg_is_in_recovery()::text,
       ((current_setting('synchronous_standby_names') = '' OR current_setting('synchronous_commit') = 'local')
           AND EXISTS (SELECT FROM pg_stat_get_wal_senders()))::text"""

# A server may be set to acknowledge writes before they are on its disk. Tokens need to be on it.
DURABLY = """\
set_config('synchronous_commit',
                  CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                       ELSE current_setting('synchronous_commit') END, true)"""

# Another process of ours locks a row for one write to the disk. A program that locks it for longer must not hold a
# connection that other records need: so the statement soon fails, and the store tries it again. The setting is made
# before the row is locked, and ends once it is: a commit that notifies then waits for its turn, as long as it takes.
IMPATIENTLY = "(SELECT set_config('lock_timeout', '50', true) AS milliseconds) AS impatiently"
PATIENTLY = "set_config('lock_timeout', '0', true)"

# A process that waits for the record holds this lock shared. Where the lock is free no process waits, and nothing is
# notified. NOTIFY takes one lock for the whole server until its transaction is on disk, for which thousands of renewals
# would queue. Records share the locks, so a few notifications are in vain.
WAKING = "CASE WHEN pg_try_advisory_xact_lock({lock}::bigint) THEN '' ELSE pg_notify({channel}::text, '')::text END"

RETURNING = f"""\
RETURNING {SERVER_STATE},
       {DURABLY},
       {PATIENTLY},
       {WAKING}"""
"""What each statement that writes ends with: one row if it has written, else none."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where the changes of one record are announced.

    Its name does not show the key to users who may not read the table.
    """

    name: str
    lock: int


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements for one table. `table`: a name, or a schema's and a table's with a dot in between."""

    table: str = DEFAULT_TABLE

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` for a table that is no such name."""
        parts = self.table.split(".") if type(self.table) is str else []
        if not 1 <= len(parts) <= 2 or not all(_is_name(part) for part in parts):
            raise ConfigurationError(
                "table must be a name of letters, digits and _, with or without its schema ('tokens' or 'app.tokens'), "
                f"not {self.table!r}"
            )

    @property
    def quoted(self) -> str:
        return ".".join(f'"{part}"' for part in self.table.split("."))

    @property
    def create(self) -> str:
        # Half of each page stays free and no changing column has an index, so that a record is replaced in its place.
        # The body is bytes, because text cannot hold every character of Unicode.
        return f"""\
CREATE TABLE IF NOT EXISTS {self.quoted} (
    key text COLLATE "C" PRIMARY KEY,
    version text NOT NULL,
    body bytea NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50)"""

    @property
    def load(self) -> str:
        """Parameters: key. One row: the columns of `SERVER_STATE`, version, body.

        Version and body are null where there is no record.
        """
        return f"""\
SELECT {SERVER_STATE},
       found.version, found.body
  FROM (VALUES (1)) AS one LEFT JOIN {self.quoted} AS found ON found.key = $1::text"""

    @property
    def nothing(self) -> str:
        """The answer of `load` for a key without a record, where there is no table."""
        return f"SELECT {SERVER_STATE}, NULL, NULL"

    @property
    def insert(self) -> str:
        """Parameters: key, version, body, lock, channel. One row with `SERVER_STATE` if it was inserted, else none."""
        return f"""\
INSERT INTO {self.quoted} (key, version, body, updated_at)
SELECT $1::text, $2::text, $3::bytea, clock_timestamp() FROM {IMPATIENTLY} WHERE milliseconds IS NOT NULL
    ON CONFLICT DO NOTHING
{RETURNING.format(lock="$4", channel="$5")}"""

    @property
    def update(self) -> str:
        """Parameters: as for `insert`, then the expected version. One row where it was updated, else none."""
        return f"""\
UPDATE {self.quoted} SET version = $2::text, body = $3::bytea, updated_at = clock_timestamp()
  FROM {IMPATIENTLY}
 WHERE key = $1::text AND version = $6::text AND milliseconds IS NOT NULL
{RETURNING.format(lock="$4", channel="$5")}"""

    @property
    def delete(self) -> str:
        """Parameters: key, the expected version, lock, channel. One row with `SERVER_STATE` if it was deleted."""
        return f"""\
DELETE FROM {self.quoted} USING {IMPATIENTLY}
 WHERE key = $1::text AND version = $2::text AND milliseconds IS NOT NULL
{RETURNING.format(lock="$3", channel="$4")}"""

    @property
    def locked_by(self) -> str:
        """Parameters: key. Rows: the server's process that has locked the record, and the seconds of its transaction.

        None where the database user may not see that.
        """
        return f"""\
SELECT other.pid::text, extract(epoch FROM clock_timestamp() - other.xact_start)::int::text
  FROM {self.quoted} AS found JOIN pg_stat_activity AS other ON other.backend_xid::text = found.xmax::text
 WHERE found.key = $1::text"""

    def versions(self, count: int) -> str:
        """Parameters: so many keys. Rows: key, version; none for a key without a record."""
        keys = ", ".join(f"${number}::text" for number in range(1, count + 1))
        return f"SELECT key, version FROM {self.quoted} WHERE key IN ({keys})"

    @property
    def page(self) -> str:
        """Parameters: the key after which the page begins. Rows: key, version, body."""
        return f"SELECT key, version, body FROM {self.quoted} WHERE key > $1::text ORDER BY key LIMIT {PAGE}"

    def channel(self, key: str) -> Channel:
        """The channel and the lock of `key`."""
        digest = hashlib.sha256(f"{self.table}\0{key}".encode("utf-8", "surrogatepass")).digest()
        locks = int.from_bytes(hashlib.sha256(self.table.encode()).digest()[:7], "big")
        return Channel(f"onerefresh_{digest[:16].hex()}", locks + digest[16] % LOCKS)


LISTEN_FOR = "LISTEN {name}; SELECT pg_advisory_lock_shared({lock})"
"""On return each change is announced: the lock waits for writers that are at work without announcing."""
LISTEN_NO_MORE = "UNLISTEN {name}; SELECT pg_advisory_unlock_shared({lock})"
LISTEN_TO_NOTHING = "UNLISTEN *; SELECT pg_advisory_unlock_all()"


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) is not None and len(text) <= LONGEST_NAME
