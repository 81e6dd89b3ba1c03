"""`onerefresh logout`: forget a credential's tokens."""

from __future__ import annotations

import argparse

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command, add_name
from onerefresh.cli.output import say

_DESCRIPTION = """\
Delete a credential's tokens from the store. Programs that share it cannot refresh them any more, and a refresh that is
in progress saves nothing. The server is not informed: end the session there as well if a token may have leaked.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    parser = add_command(subparsers, "logout", "delete a credential's tokens from the store", _DESCRIPTION)
    add_name(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Forget the tokens."""
    config.load(args.name, config=args.config).logout()
    say(f"{args.name}: logged out here; the server was not informed")
    return 0
