"""`onerefresh logout`: forget a credential's tokens."""

from __future__ import annotations

import argparse
import json

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command, add_name
from onerefresh.cli.output import say, write_exactly

_DESCRIPTION = """\
Delete a credential's tokens from the store. Programs that share it cannot refresh them any more, and a refresh that is
in progress saves nothing. With a revocation_endpoint (or logout, for a json_endpoint) in the configuration file, the
token is revoked at the server, too, and the output says whether the server has confirmed that. Otherwise the server is
not told.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    parser = add_command(subparsers, "logout", "delete a credential's tokens from the store", _DESCRIPTION)
    add_name(parser)
    parser.add_argument("--json", action="store_true", help="print JSON: whether the server has revoked the token")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Forget the tokens."""
    done = config.load(args.name, config=args.config).logout()
    if args.json:
        shown = {"credential": args.name, "revocation": done.revocation, "detail": done.detail or None}
        write_exactly(json.dumps(shown) + "\n")
    else:
        detail = f" ({done.detail})" if done.detail else ""
        say(f"{args.name}: logged out here; {_AT_THE_SERVER[done.revocation]}{detail}")
    return 0


_AT_THE_SERVER = {
    "revoked": "the server has revoked the token",
    "not_confirmed": "the server has not confirmed that it revoked the token, which may live on there",
    "no_endpoint": "the server was not told, since the configuration file names no revocation_endpoint or logout",
    "no_token": "there was no token to revoke",
}
