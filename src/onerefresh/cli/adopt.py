"""`onerefresh adopt`: consent to send a stored token to the endpoint that the configuration file names."""

from __future__ import annotations

import argparse

from onerefresh.cli.arguments import Subparsers, add_command
from onerefresh.cli.each import add_which, do_each
from onerefresh.cli.output import say
from onerefresh.config import Entry

_DESCRIPTION = """\
A stored token belongs to the token endpoint and client that it came from, and is sent to no other. Where the record
says that it is another one's, or says nothing, this makes it the one of the configuration file. Its refresh token is
sent there with the next refresh: do this only where you know that it came from there.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "make a stored token this configuration's, whoever stored it"
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
