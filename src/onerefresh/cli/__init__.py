"""The command `onerefresh`. Each command is a module of its own, which is imported only when it is used."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import FrameType, MappingProxyType
from typing import NoReturn

from onerefresh import __version__
from onerefresh.cli.failure import INTERRUPTED, OTHER, exit_code, explain
from onerefresh.cli.output import (
    OutputFailed,
    Parser,
    VisibleFormatter,
    abandon_output,
    say,
    say_traceback,
    say_traceback_of,
)
from onerefresh.errors import LoginRequired, OnerefreshError

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "100 parallel calls, first with the usual code and then with onerefresh",
        "fetch": "fetch many URLs in parallel through one credential",
        "token": "print a fresh access token",
        "login": "store a token response, as the beginning of a new session",
        "status": "show the state of one credential or of all; nothing is refreshed",
        "retry": "ask the token endpoint again now, after you have corrected something",
        "adopt": "let this configuration use a stored token, whichever client stored it",
        "logout": "delete a credential's tokens from the store",
        "purge": "remove what a logout has left of a credential: its name, its client and all times",
        "store": "prepare a store, or move its credentials to another",
        "testserver": "run a strict authorization server and API on loopback",
    }
)
_ALIASES: Mapping[str, str] = MappingProxyType({"import": "login"})

_DESCRIPTION = """\
Many parallel API calls share one credential: exactly one token refresh runs, the others wait for it, and each is
replayed once. That holds between processes too.
"""
_EPILOG = """\
Credentials are defined in a configuration file: the one given with --config or $ONEREFRESH_CONFIG, otherwise
onerefresh/onerefresh.toml in the user's configuration folder (~/.config on Linux):

    [credentials.acme]
    token_endpoint = "https://login.acme.com/token"
    client_id = "cli"
    client_secret = { env = "ACME_SECRET" }      # or { file = "…" }, { command = ["…"] }, or leave it out
    origins = ["https://api.acme.com"]           # where the token may go

Then, with a token response from that server:

    onerefresh login acme --with-token < answer.json
    onerefresh fetch acme https://api.acme.com/items/1 https://api.acme.com/items/2
    curl -H "Authorization: Bearer $(onerefresh token acme)" https://api.acme.com/items/1

Exit codes: 0 done; 2 wrong usage or configuration; 4 log in (again); 75 try again later; 130 interrupted;
1 anything else.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. `argv`: the arguments (default: those of this process)."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        args = _parsed(arguments)
    except SystemExit as done:  # argparse has printed everything
        return int(done.code or 0)
    except KeyboardInterrupt:  # while a command's module was loaded
        say("interrupted")
        return INTERRUPTED
    debug = args.debug or os.environ.get("ONEREFRESH_DEBUG", "0") not in ("", "0")
    try:
        with _logging(debug=debug), _ending_on_sigterm():
            code: int = args.run(args)
            sys.stdout.flush()
    except OnerefreshError as error:
        if debug:
            say_traceback(error)
        say(explain(error, fetches=_fetches(args, error)))
        return exit_code(error)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except (OutputFailed, BrokenPipeError) as error:
        abandon_output()
        if isinstance(error, OutputFailed) and error.args[0]:
            say(error.args[0])
        return OTHER
    except Exception as error:  # noqa: BLE001 - whatever it is, a person reads the message
        say_traceback(error)
        say(f"unexpected {type(error).__name__}: this is a bug in onerefresh, or in your own refresher or store")
        return OTHER
    return code


def _fetches(args: argparse.Namespace, error: OnerefreshError) -> bool:
    """Whether `onerefresh login` fetches a token for the error's credential, as with ``client_credentials``."""
    from onerefresh import config

    if not isinstance(error, LoginRequired) or error.credential is None:
        return False
    with contextlib.suppress(OnerefreshError):
        entry = config.read(getattr(args, "config", None)).named(error.credential)
        return entry.endpoint.get("grant") == "client_credentials"
    return False


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = build_parser(arguments)
    args, rest = parser.parse_known_args(arguments)
    # argparse ends a list of arguments at the next option, but URLs may follow the option as well.
    urls = [word for word in rest if word == "-" or not word.startswith("-")]
    if rest and (len(urls) < len(rest) or "urls" not in args):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if urls:
        args.urls += urls
    return args


def build_parser(arguments: Collection[str] | None = None) -> argparse.ArgumentParser:
    """The parser, with the options of those commands only that `arguments` name (None: of all)."""
    parser = Parser(
        prog="onerefresh",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"onerefresh {__version__}")
    parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser.add_argument("--debug", action="store_true", help="log to standard error what happens; no token is shown")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = COMMANDS if arguments is None else {_ALIASES.get(word, word) for word in arguments}
    for name, line in COMMANDS.items():
        if name in wanted:
            importlib.import_module(f"onerefresh.cli.{name}").add(subparsers)
        else:
            aliases = [alias for alias, command in _ALIASES.items() if command == name]
            subparsers.add_parser(name, help=line, aliases=aliases)
    return parser


@contextlib.contextmanager
def _logging(*, debug: bool) -> Iterator[None]:
    """A context in which events go to standard error with `debug`; otherwise a problem is reported as the one error."""
    import logging

    logger = logging.getLogger("onerefresh")
    level = logger.level
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.CRITICAL)
    hook, threading.excepthook = threading.excepthook, say_traceback_of
    try:
        yield
    finally:
        threading.excepthook = hook
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """A context in which SIGTERM ends the command like Ctrl-C: a refresh that has been sent is finished and saved."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
