"""`onerefresh retry`: ask the token endpoint again at once, whatever it said before."""

from __future__ import annotations

import argparse

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command
from onerefresh.cli.failure import exit_code, explain
from onerefresh.cli.output import say, write_lines
from onerefresh.cli.words import life
from onerefresh.config import Entry
from onerefresh.errors import ConfigurationError, OnerefreshError

_DESCRIPTION = """\
Ask the token endpoint again at once for a credential whose last refresh failed: after the client or its refresher was
corrected, or to send a refresh token once more whose answer was lost. That also holds for a session that was found
dead: it is asked once more. Where nothing failed, and no refresh is put off, nothing is sent.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "ask the token endpoint again at once, after something was corrected"
    parser = add_command(subparsers, "retry", line, _DESCRIPTION)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", help="the credential, as the configuration file calls it")
    which.add_argument("--all", action="store_true", help="all credentials of the configuration file, in turn")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Retry; the exit code of the first that failed."""
    configuration = config.read(args.config)
    if args.name is not None:
        write_lines([_retried(configuration.named(args.name))])
        return 0
    code = 0
    for entry in configuration.entries.values():
        try:
            write_lines([_retried(entry)])
        except OnerefreshError as error:
            said = error if error.credential or isinstance(error, ConfigurationError) else error.about(entry.name)
            say(explain(said))
            code = code or exit_code(error)
    return code


def _retried(entry: Entry) -> str:
    with entry.open() as credential:
        status = credential.status()
        if status.failure is None:
            return f"{entry.name}: nothing failed: nothing was sent"
        token = credential.retry()
    return f"{entry.name}: generation {token.generation} {life(token.expires_at, token.issued_at)}"
