"""`onerefresh adopt`: consent to send a stored token to the endpoint that the configuration file names."""

from __future__ import annotations

import argparse

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command
from onerefresh.cli.failure import exit_code, explain
from onerefresh.cli.output import say
from onerefresh.config import Entry
from onerefresh.errors import ConfigurationError, OnerefreshError

_DESCRIPTION = """\
A stored token belongs to the token endpoint and client that it came from, and is sent to no other. Where the record
says that it is another one's, or says nothing, this makes it the one of the configuration file. Its refresh token is
sent there with the next refresh: do this only where you know that it came from there.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "make a stored token this configuration's, whoever stored it"
    parser = add_command(subparsers, "adopt", line, _DESCRIPTION)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", help="the credential, as the configuration file calls it")
    which.add_argument("--all", action="store_true", help="all credentials of the configuration file, in turn")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Adopt; the exit code of the first that failed."""
    configuration = config.read(args.config)
    if args.name is not None:
        say(_adopted(configuration.named(args.name)))
        return 0
    code = 0
    for entry in configuration.entries.values():
        try:
            say(_adopted(entry))
        except OnerefreshError as error:
            said = error if error.credential or isinstance(error, ConfigurationError) else error.about(entry.name)
            say(explain(said))
            code = code or exit_code(error)
    return code


def _adopted(entry: Entry) -> str:
    with entry.open() as credential:
        before = credential.adopt()
    return f"{entry.name}: {'nothing to adopt' if before is None else f'adopted; it belonged to {before}'}"
