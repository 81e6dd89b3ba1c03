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
from onerefresh.token import Secret, Token

_DESCRIPTION = """\
Print a fresh access token and nothing else. It is refreshed first where it has expired or soon will: once, however many
processes ask at the same time. If that fails, or takes more than 5 seconds, a token that still serves is printed. Where
there is none, the exit code says who must act, and standard output stays empty. It never asks anybody anything.
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
    parser.add_argument("--json", action="store_true", help="print a JSON object that tells the generation and expiry")
    parser.add_argument(
        "--refused",
        metavar="GENERATION",
        help="the API refused the token of this generation (as --json tells it), or with - the token on standard input:"
        " if that is not the current one, the current one is printed",
    )
    parser.add_argument(
        "--min-valid",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="a token that expires sooner is refreshed first; one that does not tell its expiry is printed as it is",
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
    if _expires_within(token, args.min_valid):
        token = _longer(credential, token, args.min_valid)
    if not args.json and not token.reveal().isprintable():
        raise RefreshProtocolError(
            "the access token holds characters that no terminal and no header can carry", credential=args.name
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
            raise ConfigurationError("--refused - got no token on standard input: pipe the refused one in")
        return text
    if not argument.isdecimal() or int(argument) == 0:
        raise ConfigurationError("--refused takes a generation (1, 2, …; --json tells it), or - for standard input")
    return int(argument)


def _is_refused(token: Token, refused: int | Secret) -> bool:
    if isinstance(refused, Secret):
        return token.access_token == refused
    if refused > token.generation:
        raise ConfigurationError(f"--refused {refused}: there is no such generation yet; now it is {token.generation}")
    return token.generation == refused


def _expires_within(token: Token, min_valid: float) -> bool:
    return token.expires_at is not None and token.expires_at - time.time() < min_valid


def _next(credential: Credential, token: Token, reason: str) -> Token:
    newer = credential.token(refused=token)
    if newer.identity == token.identity:
        raise RefreshUnavailable(
            f"{reason}, but generation {token.generation} was refreshed only just now, or too often of late: it is not "
            "refreshed again yet",
            credential=credential.key,
            generation=token.generation,
        )
    return newer


def _longer(credential: Credential, token: Token, min_valid: float) -> Token:
    """The next token, unless the server's tokens never live that long: each call would refresh in vain."""
    if _life(token) >= min_valid or not _was_refreshed(credential):
        token = _next(credential, token, f"it expires within {min_valid:.0f} s")
    if _expires_within(token, min_valid):
        raise OnerefreshError(
            f"its tokens live for {_life(token):.0f} s only: ask for less with --min-valid", credential=credential.key
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
