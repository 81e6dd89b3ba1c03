"""`onerefresh purge`: remove what a logout leaves in the store."""

from __future__ import annotations

import argparse

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command, add_name
from onerefresh.cli.output import say

_DESCRIPTION = """\
Remove what `onerefresh logout` has left of a credential from the store: its name, its client and the times of its last
refreshes. As long as this record is there, no program can bring the session back. Afterwards, a program that still has
a token in memory can. So run this when all programs that used the credential have ended.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "remove what a logout has left of a credential: its name, its client and all times"
    parser = add_command(subparsers, "purge", line, _DESCRIPTION)
    add_name(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Remove it."""
    config.load(args.name, config=args.config).purge()
    say(f"{args.name}: nothing of it is left in the store")
    return 0
