"""`onerefresh store init`: prepare a store that needs preparing."""

from __future__ import annotations

import argparse

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command
from onerefresh.cli.output import say, write_lines
from onerefresh.errors import ConfigurationError
from onerefresh.stores import holds_password
from onerefresh.stores.postgres.sql import DEFAULT_TABLE, Statements

_DESCRIPTION = """\
Create the table of a PostgreSQL store, as a database user who is allowed to. This prepares each PostgreSQL store in the
configuration file, or the one given with --store. An existing table is left as it is. Other stores need no preparation.
"""
_EPILOG = """\
examples:
    onerefresh store init
    onerefresh store init --sql | psql app
    PGPASSWORD=… onerefresh store init --store postgresql://owner@db.example.com/app
"""
_SCHEMES = ("postgresql://", "postgres://")


def add(subparsers: Subparsers) -> None:
    """Add the action to a parser."""
    parser = add_command(subparsers, "init", "create the table of a PostgreSQL store", _DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "--store",
        metavar="URL",
        help="prepare only this store; set its password in PGPASSWORD or ~/.pgpass, not in the URL",
    )
    parser.add_argument(
        "--table", metavar="NAME", default=DEFAULT_TABLE, help=f"the table's name, if it is not {DEFAULT_TABLE}"
    )
    parser.add_argument("--sql", action="store_true", help="print the SQL statements, without connecting")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare the stores."""
    statements = Statements(args.table)
    if args.sql:
        write_lines(
            [
                *f"{statements.create};".split("\n"),
                "-- Then, for the database user of each program that uses the store:",
                f"-- GRANT SELECT, INSERT, UPDATE ON {statements.quoted} TO …;",
            ]
        )
        return 0
    for url in _urls(args):
        from onerefresh.stores.postgres import PostgresStore

        store = PostgresStore(url, table=args.table)
        store.make_table()
        say(f"{store.name} is ready")
    return 0


def _urls(args: argparse.Namespace) -> list[str]:
    if args.store is not None:
        if not args.store.startswith(_SCHEMES):
            raise ConfigurationError("--store must be a postgresql:// URL: other stores need no preparation")
        if holds_password(args.store):
            args.store = None  # it would show in a traceback with locals
            raise ConfigurationError(
                "a password on the command line can be seen by every user of this machine: "
                "leave it out of --store, and set PGPASSWORD or write it into ~/.pgpass"
            )
        return [args.store]
    configuration = config.read(args.config)
    stores = {entry.store: entry for entry in configuration.entries.values()}
    found = [url for entry in stores.values() if (url := entry.store_url().reveal()).startswith(_SCHEMES)]
    if not found:
        raise ConfigurationError(f"{configuration.path} has no PostgreSQL store, and other stores need no preparation")
    return found
