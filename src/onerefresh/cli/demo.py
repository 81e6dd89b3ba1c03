"""`onerefresh demo`: the same calls twice, in the usual way and through onerefresh, against a strict server."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from onerefresh.cli.arguments import Subparsers, add_command, require, whole_number
from onerefresh.cli.failure import OTHER
from onerefresh.cli.output import say, write_exactly, write_lines

if TYPE_CHECKING:
    from onerefresh.cli.demo_run import Finished

_DESCRIPTION = """\
Start a strict authorization server and an API on loopback, and let worker processes make parallel calls to the API, all
with one credential. Half of the calls complete. Then the access token is revoked while the other half is in progress:
these calls are refused and need a new token. If a refresh token is used twice, the server ends the session, as many
servers do.

This runs twice: first with the code that people usually write, which has a lock in each process, then with onerefresh
and its SQLite store. Nothing leaves this machine, and nothing remains on it.
"""
_EPILOG = """\
Exit codes: 0 if every call through onerefresh succeeded, with one token request for each new token; otherwise 1.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "100 parallel calls, first with the usual code and then with onerefresh"
    parser = add_command(subparsers, "demo", line, _DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "--workers", type=whole_number(1, 16), default=4, metavar="N", help="number of processes (default: %(default)s)"
    )
    parser.add_argument(
        "--calls", type=whole_number(2, 200), default=25, metavar="N", help="calls per process (default: %(default)s)"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print the results as one JSON object")
    how.add_argument(
        "--mermaid", action="store_true", help="run with onerefresh only, and print the run as a sequence diagram"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo and show the results."""
    require("demo", "httpx2", "rich")
    from onerefresh.cli.demo_run import run_calls
    from onerefresh.cli.demo_show import Live, as_fields, print_tables

    with Live(args.workers, args.calls) as live:
        usual = None if args.mermaid else run_calls("usual", args.workers, args.calls, live.watch("usual"))
        ours = run_calls("onerefresh", args.workers, args.calls, live.watch("onerefresh"))
    if usual is None:
        from onerefresh.cli.demo_diagram import diagram

        write_lines(diagram(ours).splitlines())
    elif args.json:
        shape = {"workers": args.workers, "calls_per_worker": args.calls}
        write_exactly(json.dumps({"usual": as_fields(usual), "onerefresh": as_fields(ours), **shape}, indent=2) + "\n")
    else:
        print_tables(usual, ours)
    if ours.is_well:
        return 0
    say(f"onerefresh did not keep its promise: {_shortcoming(ours)}")
    return OTHER


def _shortcoming(ours: Finished) -> str:
    message = f"{ours.answered} of {ours.calls} calls answered, {ours.token_requests} token requests for "
    message += f"{ours.refreshes} new tokens, {ours.reuse_detected} reuses, session {ours.session}"
    problems = ", ".join(f"{problem} ({count})" for problem, count in ours.problems.most_common())
    return f"{message}; {problems}" if problems else message
