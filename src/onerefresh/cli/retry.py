"""`onerefresh retry`: ask the token endpoint again at once, whatever it said before."""

from __future__ import annotations

import argparse

from onerefresh.cli.arguments import Subparsers, add_command
from onerefresh.cli.each import add_which, do_each
from onerefresh.cli.output import write_lines
from onerefresh.cli.words import life
from onerefresh.config import Entry

_DESCRIPTION = """\
Ask the token endpoint again now for a credential whose last refresh failed: after you have corrected the client or its
refresher, or to send a refresh token again whose answer was lost. A session that was found to be over is tried once
more, too. If nothing failed and no refresh is postponed, nothing is sent.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "ask the token endpoint again now, after you have corrected something"
    parser = add_command(subparsers, "retry", line, _DESCRIPTION)
    add_which(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Retry; return the exit code of the first failure."""
    return do_each(args, _retried, lambda line: write_lines([line]))


def _retried(entry: Entry) -> str:
    with entry.open() as credential:
        status = credential.status()
        if status.failure is None:
            return f"{entry.name}: nothing failed, so nothing was sent"
        token = credential.retry()
    return f"{entry.name}: generation {token.generation} {life(token.expires_at, token.issued_at)}"
