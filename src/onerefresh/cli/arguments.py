"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeAlias

from onerefresh.errors import ConfigurationError

__all__ = ["Subparsers", "add_command", "add_name", "require", "seconds", "whole_number"]

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    subparsers: Subparsers, name: str, line: str, description: str, *, epilog: str = "", aliases: tuple[str, ...] = ()
) -> argparse.ArgumentParser:
    """Add the parser of a command. It takes --config and --debug after the command's name as well as before it."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=line,
        aliases=aliases,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Suppressed, so that a default does not overwrite an option before the command's name.
    parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="the configuration file")
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="log what happens")
    return parser


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the credential's name."""
    parser.add_argument("name", metavar="NAME", help="the credential's name in the configuration file")


def seconds(text: str) -> float:
    """A type for arguments: a number of seconds, 0 or more."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not math.isfinite(found) or found < 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not {text!r}")
    return found


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A type for arguments: a whole number within limits."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return read


def require(command: str, *packages: str) -> None:
    """Raise `ConfigurationError` where a package that the command needs is not installed."""
    from importlib.util import find_spec

    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigurationError(
            f"onerefresh {command} needs {' and '.join(missing)}: run pip install 'onerefresh[cli]'"
        )
