"""`onerefresh store`: what is done with a whole store. Each action is a module of its own."""

from __future__ import annotations

from onerefresh.cli import store_copy, store_init
from onerefresh.cli.arguments import Subparsers, add_command

_DESCRIPTION = """\
Prepare a store, or move all credentials from one store to another.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    parser = add_command(subparsers, "store", "prepare a store, or move its credentials to another", _DESCRIPTION)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    store_init.add(actions)
    store_copy.add(actions)
