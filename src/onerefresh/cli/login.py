"""`onerefresh login`, also named `import`: the beginning of a session."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping

from onerefresh import config
from onerefresh.answers import read_json
from onerefresh.cli.arguments import Subparsers, add_command, add_name
from onerefresh.cli.output import say
from onerefresh.cli.words import life
from onerefresh.config import Entry
from onerefresh.errors import ConfigurationError, RefreshProtocolError
from onerefresh.token import Token
from onerefresh.token_response import names_in, parse_answer, useless

LARGEST_ANSWER = 1024 * 1024

_DESCRIPTION = """\
Read a token response as JSON from standard input, and store it as the beginning of a new session of this credential. It
replaces what is stored, and running programs continue with it. The response is checked first, and never shown. It may
be old, and a refresh token alone is enough.

A credential with grant = "client_credentials" needs no token response: without --with-token a token is fetched.
"""
_EPILOG = """\
example:
    onerefresh login acme --with-token < answer.json

answer.json holds the response of the server's token endpoint, unchanged:
    {"access_token": "…", "refresh_token": "…", "expires_in": 3600}
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "store a token response, as the beginning of a new session"
    parser = add_command(subparsers, "login", line, _DESCRIPTION, epilog=_EPILOG, aliases=("import",))
    add_name(parser)
    parser.add_argument(
        "--with-token", action="store_true", help="read a token response from standard input (import always does)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Store the token."""
    entry = config.read(args.config).named(args.name)
    credential = entry.open()
    if entry.store == "memory":
        raise ConfigurationError(
            f"{entry.source}: credentials.{entry.name} keeps its token in memory, which is lost when this command "
            'ends: write store = "sqlite"'
        )
    if args.with_token or args.command == "import":
        token = credential.login(_answer(entry))
    elif entry.endpoint.get("grant") == "client_credentials":
        token = credential.login()
    else:
        raise ConfigurationError(
            f"say where the token comes from: onerefresh login {entry.name} --with-token < answer.json"
        )
    say(f"{entry.name}: logged in; {_described(token)}")
    if token.refresh_token is None and entry.needs_refresh_token():
        say(f"{entry.name}: the response has no refresh_token: when this token expires, a new login is needed")
    return 0


def _answer(entry: Entry) -> Token:
    """The token in the token response on standard input."""
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigurationError(
            "the token response is read from standard input, which is a terminal: "
            f"run onerefresh login {entry.name} --with-token < answer.json"
        )
    answer = _parsed()
    if answer is None:
        raise ConfigurationError(
            'there is no token response on standard input: it must be a JSON object such as {"access_token": "…", '
            '"refresh_token": "…", "expires_in": 3600}; nothing was changed'
        )
    bearer_field = entry.options.get("bearer_field")
    answer = entry.translated(answer)
    message = useless(answer, bearer_field=bearer_field)
    token = None if message else _usable(answer, bearer_field)
    if token is None:
        names = names_in(answer)
        del answer  # it holds tokens, and would show in a traceback with locals
        if message:
            raise ConfigurationError(f"{message}; nothing was changed")
        wanted = bearer_field or "access_token"
        raise ConfigurationError(f"the token response has no usable {wanted} (it holds: {names}); nothing was changed")
    return token


def _usable(answer: Mapping[str, object], bearer_field: str | None) -> Token | None:
    try:
        # The answer may come from an old file.
        return parse_answer(answer, at=time.time(), kept=True, bearer_field=bearer_field)
    except RefreshProtocolError:
        return None


def _parsed() -> Mapping[str, object] | None:
    """Nothing is raised here: the parser's exceptions hold the whole text."""
    try:
        found = read_json(sys.stdin.buffer.read(LARGEST_ANSWER))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _described(token: Token) -> str:
    scope = f", scope {token.scope!r}" if token.scope else ""
    if not token.has_access_token:
        return f"generation {token.generation} has no access token yet: the first use gets one{scope}"
    return f"generation {token.generation} {life(token.expires_at, time.time())}{scope}"
