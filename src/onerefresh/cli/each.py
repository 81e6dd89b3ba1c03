"""One credential of the configuration file, or all of them in turn: what `adopt` and `retry` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from onerefresh import config
from onerefresh.cli.failure import exit_code, explain
from onerefresh.cli.output import say
from onerefresh.config import Entry
from onerefresh.errors import ConfigurationError, OnerefreshError

__all__ = ["add_which", "do_each"]


def add_which(parser: argparse.ArgumentParser) -> None:
    """Add the arguments NAME and --all."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", help="the credential's name in the configuration file")
    which.add_argument(
        "--all", action="store_true", help="all credentials in the configuration file, one after another"
    )


def do_each(args: argparse.Namespace, act: Callable[[Entry], str], show: Callable[[str], None]) -> int:
    """Show the result of `act` for each credential; return the exit code of the first failure.

    With --all, the other credentials follow one that fails.
    """
    configuration = config.read(args.config)
    if args.name is not None:
        show(act(configuration.named(args.name)))
        return 0
    code = 0
    for entry in configuration.entries.values():
        try:
            show(act(entry))
        except OnerefreshError as error:
            message = error if error.credential or isinstance(error, ConfigurationError) else error.about(entry.name)
            say(explain(message))
            code = code or exit_code(error)
    return code
