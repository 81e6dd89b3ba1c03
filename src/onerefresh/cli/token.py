"""`onerefresh token`: a fresh access token for scripts. It needs no extras and starts quickly."""

from __future__ import annotations

import argparse
import json
import sys
import time

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command, add_name, seconds
from onerefresh.cli.output import write_exactly
from onerefresh.credential import Credential
from onerefresh.credential.early import early
from onerefresh.errors import ConfigurationError, OnerefreshError, RefreshProtocolError, RefreshUnavailable
from onerefresh.secret import Secret
from onerefresh.token import Token

_DESCRIPTION = """\
Print a fresh access token and nothing else. If it has expired or soon will, it is refreshed first: once, however many
processes ask at the same time. If that fails or takes more than 5 seconds, a token that is still valid is printed. If
there is none, the exit code says who must act, and standard output stays empty. The command never prompts.
"""
_EPILOG = """\
examples:
    curl -H "Authorization: Bearer $(onerefresh token acme)" https://api.acme.com/items
    onerefresh token acme --json                    # {"access_token": "…", "generation": 7, …}
    onerefresh token acme --refused 7               # the API refused generation 7: print a newer one
    printf %s "$TOKEN" | onerefresh token acme --refused -
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    parser = add_command(subparsers, "token", "print a fresh access token", _DESCRIPTION, epilog=_EPILOG)
    add_name(parser)
    parser.add_argument("--json", action="store_true", help="print JSON with the token, its generation and its expiry")
    parser.add_argument(
        "--refused",
        metavar="GENERATION",
        help="the API refused the token of this generation (see --json), or, with -, the token on standard input:"
        " print a newer one",
    )
    parser.add_argument(
        "--min-valid",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="refresh a token first that expires sooner; a token without a known expiry is printed as it is",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the token."""
    refused = _refused(args.refused)
    credential = config.load(args.name, config=args.config)
    token = credential.token()
    if refused is not None and _is_refused(token, refused):
        token = _next(credential, token, "it was refused")
    token = early(credential, token)
    if _expires_within(credential, token, args.min_valid):
        token = _longer(credential, token, args.min_valid)
    if not args.json and not token.reveal().isprintable():
        raise RefreshProtocolError(
            "the access token contains characters that cannot be printed or sent in a header", credential=args.name
        )
    write_exactly(_as_json(args.name, token) if args.json else f"{token.reveal()}\n")
    return 0


def _refused(argument: str | None) -> int | Secret | None:
    if argument is None:
        return None
    if argument == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise ConfigurationError("--refused - reads the refused token from standard input: pipe it in")
        text = Secret(sys.stdin.buffer.read().decode("utf-8", "replace").strip())
        if not text:
            raise ConfigurationError("--refused - found no token on standard input: pipe the refused token in")
        return text
    if not argument.isdecimal() or int(argument) == 0:
        raise ConfigurationError("--refused takes a generation (1, 2, …; shown by --json), or - for standard input")
    return int(argument)


def _is_refused(token: Token, refused: int | Secret) -> bool:
    if isinstance(refused, Secret):
        return token.access_token == refused
    if refused > token.generation:
        raise ConfigurationError(
            f"--refused {refused}: there is no such generation yet; the current one is {token.generation}"
        )
    return token.generation == refused


def _expires_within(credential: Credential, token: Token, min_valid: float) -> bool:
    now_there = time.time() - credential._memory.timing.skew  # this machine's clock may be off
    return token.expires_at is not None and token.expires_at - now_there < min_valid


def _next(credential: Credential, token: Token, reason: str) -> Token:
    newer = credential.token(refused=token)
    if newer.identity == token.identity:
        raise RefreshUnavailable(
            f"{reason}, but generation {token.generation} was refreshed only just now, or too often recently: it is "
            "not refreshed again yet",
            credential=credential.key,
            generation=token.generation,
        )
    return newer


def _longer(credential: Credential, token: Token, min_valid: float) -> Token:
    """The next token, unless the server's tokens never live that long: each call would refresh in vain."""
    if _life(token) >= min_valid or not _was_refreshed(credential):
        token = _next(credential, token, f"it expires within {min_valid:.0f} s")
    if _expires_within(credential, token, min_valid):
        raise OnerefreshError(
            f"its tokens are valid for {_life(token):.0f} s only: use a smaller --min-valid", credential=credential.key
        )
    return token


def _life(token: Token) -> float:
    return float("inf") if token.expires_at is None else token.expires_at - token.issued_at


def _was_refreshed(credential: Credential) -> bool:
    """Whether the present token came from a refresh. A token that a person stored may have been old already."""
    history = credential.status().history
    return bool(history) and history[-1].what not in ("login", "seed")


def _as_json(name: str, token: Token) -> str:
    shown = {
        "credential": name,
        "access_token": token.reveal(),
        "generation": token.generation,
        "expires_at": token.expires_at,
        "scope": token.scope,
    }
    return json.dumps(shown) + "\n"
