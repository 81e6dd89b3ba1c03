"""What a PostgreSQL server's refusal means, in words that say what to do.

The server's own text may quote a statement's parameters, and with them tokens; that of a client library a part of the
URL, and with it a password. Neither is ever passed on.
"""

from __future__ import annotations

import re

__all__ = [
    "EXISTS_ALREADY",
    "FORBIDDEN",
    "LOCKED",
    "REPEATABLE",
    "UNDEFINED_TABLE",
    "cannot_connect",
    "cannot_create",
    "cannot_remove",
    "is_outcome_unknown",
    "locked_by",
    "refused",
]

UNDEFINED_TABLE = "42P01"
EXISTS_ALREADY = ("23505", "42P07", "42710")
"""What CREATE TABLE IF NOT EXISTS may answer where two processes create it at the same time."""
REPEATABLE = ("40001", "40P01")
"""Two transactions were in conflict, and this one was rolled back."""
FORBIDDEN = "42501"
"""The database user lacks a right."""
LOCKED = "55P03"
"""Another transaction had locked the row for as long as the statement waits for it."""

_UNKNOWN = ("57P01", "57P02", "57P05", "25P03", "40003")
_REFUSALS = {
    FORBIDDEN: "the database user may not use table {table}: GRANT SELECT, INSERT, UPDATE ON {table} to it",
    "3F000": "the schema of table {table} does not exist: create it, or use another table",
    "3D000": "the database does not exist: create it, or use another one",
    "42703": "{table} is not a table of onerefresh: use another one",
    "42804": "{table} is not a table of onerefresh: use another one",
    "42809": "{table} is not a table: use another one",
    "25006": "the server is read-only (a standby, or configured to be read-only): connect to the primary server",
    "53100": "the disk of the server is full",
    "53200": "the server is out of memory",
    "53300": "the server has too many connections: raise max_connections, or use a pooler",
    "54000": "the key is too long for this server, or its queue of notifications is full",
    LOCKED: "another program has locked the record: look in pg_stat_activity for a transaction that does not end",
    "57014": "the server cancelled the statement: check its statement_timeout",
    "57P03": "the server is starting or shutting down",
    "22P05": "the database's encoding cannot hold this key: use a database with encoding UTF8",
    "40001": "transactions of other programs interfered too often",
    "40P01": "transactions of other programs interfered too often",
    "26000": "a connection pooler in between mixed up its connections",
}
_CONNECTING = (  # the first that fits
    ("too many clients", "it has too many connections: raise max_connections, or use a pooler"),
    ("remaining connection slots", "it has too many connections: raise max_connections, or use a pooler"),
    ("too many connections", "it has too many connections: raise max_connections, or use a pooler"),
    ("password authentication failed", "it refused the password: correct it in the URL, PGPASSWORD or ~/.pgpass"),
    ("no password supplied", "it asks for a password: set PGPASSWORD, or write the password into ~/.pgpass"),
    ("no pg_hba.conf entry", "its pg_hba.conf does not allow this connection: check user, database and sslmode"),
    ("authentication failed", "it refused the user: check its pg_hba.conf"),
    ("starting up", "it is starting"),
    ("not yet accepting connections", "it is starting"),
    ("shutting down", "it is shutting down"),
    ("in recovery mode", "it is recovering from a crash"),
    ("read-only", "it is read-only (a standby, or configured to be read-only): connect to the primary server"),
    ("hot standby", "it is a standby: connect to the primary server"),
    ("role ", "it refused the user: create the role, or allow it to log in"),
    ("database ", "it refused the database: check that it exists and that the user may connect to it"),
    ("certificate", "TLS failed: check sslmode, sslrootcert and the server's certificate"),
    ("ssl ", "TLS failed: check sslmode and the server's setting ssl"),
    ("resolve host", "there is no such host: correct its name"),
    ("translate host", "there is no such host: correct its name"),
    ("name or service not known", "there is no such host: correct its name"),
    ("nodename nor servname", "there is no such host: correct its name"),
    ("name resolution", "the host name cannot be resolved at the moment"),
    ("connection refused", "no server is listening there: start it, or correct host and port"),
    ("no such file", "no server is listening there: start it, or correct host and port"),
    ("timeout expired", "it did not answer in time"),
    ("timed out", "it did not answer in time"),
)


def is_outcome_unknown(sqlstate: str) -> bool:
    """Whether the statement may have been applied although the server reports this."""
    return sqlstate in _UNKNOWN or sqlstate.startswith("08")


def refused(sqlstate: str, table: str) -> str:
    """Why the server refused, and what to do."""
    message = _REFUSALS.get(sqlstate)
    if message is None:
        return f"the server answered with error {sqlstate or 'without a code'}: see its log"
    return message.format(table=table)


def locked_by(pid: str, seconds: str) -> str:
    """What is known of the transaction that has locked a record."""
    return (
        f"another program has locked the record (the server's process {pid}, in a transaction for {seconds} s): end "
        "that transaction"
    )


def cannot_connect(message: str) -> str:
    """Why there is no connection, and what to do. `message`: a library's text, which may hold secrets."""
    lowered = re.sub(r"""'[^']*'|"[^"]*\"""", "", message.lower())  # a host's name may hold any of these words
    return next((advice for phrase, advice in _CONNECTING if phrase in lowered), "it cannot be reached: see its log")


def cannot_create(sqlstate: str, table: str) -> str:
    """Why the table could not be created."""
    if sqlstate == FORBIDDEN:
        return (
            f"there is no table {table}, and the database user may not create it: let a user who may create it run "
            "the output of `onerefresh store init --sql`, and GRANT SELECT, INSERT, UPDATE on it to this user"
        )
    return refused(sqlstate, table)


def cannot_remove(sqlstate: str, table: str) -> str:
    """Why a record could not be removed."""
    if sqlstate == FORBIDDEN:
        return f"the database user may not remove rows from table {table}: GRANT DELETE ON {table} to it"
    return refused(sqlstate, table)
