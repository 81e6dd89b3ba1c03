"""`onerefresh adopt`: consent to send a stored token to the endpoint that the configuration file names."""

from __future__ import annotations

import argparse

from onerefresh.cli.arguments import Subparsers, add_command
from onerefresh.cli.each import add_which, do_each
from onerefresh.cli.output import say
from onerefresh.config import Entry

_DESCRIPTION = """\
A stored token belongs to the token endpoint and client that it came from, and is sent to no other. If the record names
another endpoint or client, or none, this command assigns the token to the one in the configuration file. The next
refresh sends its refresh token there: do this only if you know that it came from there.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "let this configuration use a stored token, whichever client stored it"
    parser = add_command(subparsers, "adopt", line, _DESCRIPTION)
    add_which(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Adopt the stored tokens; return the exit code of the first failure."""
    return do_each(args, _adopted, say)


def _adopted(entry: Entry) -> str:
    with entry.open() as credential:
        before = credential.adopt()
    return f"{entry.name}: {'nothing to adopt' if before is None else f'adopted; it belonged to {before}'}"
