"""`onerefresh testserver`: run the strict test server by hand, for any client in any language."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from onerefresh.cli.output import write_exactly, write_lines
from onerefresh.errors import ConfigurationError
from onerefresh.testing.server import AuthServer
from onerefresh.testing.settings import MODES
from onerefresh.testing.wanted import BEARER

_DESCRIPTION = """\
Run a strict authorization server and an API behind it on loopback until Ctrl-C. The addresses are printed. A file that
only you can read holds a first token answer (field "token"), the client's secret and the control key; it is removed at
the end. Python code controls the server with onerefresh.testing.RemoteServer.from_file(FILE).
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to a parser."""
    parser = subparsers.add_parser(
        "testserver", help="run a strict authorization server and API on loopback", description=_DESCRIPTION
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="revoke_family",
        help="the answer to a refresh token that was already used (default: %(default)s)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="with mode grace: how long the same answer is repeated (default: %(default)g)",
    )
    parser.add_argument(
        "--expires-in",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="lifetime of access tokens (default: %(default)g)",
    )
    parser.add_argument(
        "--old-access-dies", action="store_true", help="a refresh invalidates the previous access token"
    )
    parser.add_argument(
        "--attach",
        type=_attach,
        default=BEARER,
        metavar="TEMPLATE",
        help="how the API wants the token: a template such as 'Token {token}' for the header Authorization, or a JSON"
        """ object such as '{"?key": "{token}"}' (default: %(default)s)""",
    )
    parser.add_argument("--public-client", action="store_true", help="the client has no secret")
    parser.add_argument("--file", type=Path, help="where to write the tokens and the control key (default: a new file)")
    parser.add_argument("--show-seed", action="store_true", help="also print the first token response")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.set_defaults(run=run)


def _attach(text: str) -> str | dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, dict) else text


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT, SIGTERM or (asked for) the end of standard input."""
    try:
        server = AuthServer(
            mode=args.mode,
            grace=args.grace,
            expires_in=args.expires_in,
            old_access_dies=args.old_access_dies,
            attach=args.attach,
            client_secret=None if args.public_client else "secret",
        )
    except ValueError as problem:
        raise ConfigurationError(str(problem)) from problem
    ended: SimpleQueue[None] = SimpleQueue()  # its `put` is safe in a signal handler, unlike `Event.set`
    # In place before anything is printed: a program that reads the addresses may send a signal at once.
    previous = {number: signal.signal(number, lambda *_: ended.put(None)) for number in (signal.SIGINT, signal.SIGTERM)}
    path: Path | None = None
    try:
        token = server.issue()
        path = _write_private(args.file, {**_addresses(server), **_secrets(server), "token": token})
        shown: dict[str, Any] = {**_addresses(server), "file": str(path)}
        if args.show_seed:
            shown["token"] = token
        _show(shown, as_json=args.json)
        if args.until_eof:
            threading.Thread(target=_wait_for_eof, args=(ended,), daemon=True).start()
        ended.get()
        if not args.json:
            _summarize(server)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if path is not None:
            path.unlink(missing_ok=True)
        server.stop()
    return 0


def _addresses(server: AuthServer) -> dict[str, str]:
    return {
        "url": server.url,
        "token_url": server.token_url,
        "json_refresh_url": server.json_refresh_url,
        "revoke_url": server.revoke_url,
        "api_url": server.api_url,
        "foreign_url": server.foreign.url,
        "client_id": server.client_id,
    }


def _secrets(server: AuthServer) -> dict[str, str | None]:
    return {"client_secret": server.client_secret, "control_key": server.control_key}


def _write_private(path: Path | None, content: dict[str, Any]) -> Path:
    """Write a new file that only its owner can read."""
    try:
        if path is None:
            descriptor, name = tempfile.mkstemp(prefix="onerefresh-testserver-", suffix=".json")
            path = Path(name)
        else:
            path = path.absolute()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as problem:
        raise ConfigurationError(f"cannot create {path}: {problem.strerror}; choose another --file") from problem
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)
    return path


def _show(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_exactly(json.dumps(shown) + "\n")
        return
    lines = [f"{name:17} {json.dumps(value) if isinstance(value, dict) else value}" for name, value in shown.items()]
    write_lines([*lines, "Ctrl-C ends the server."])


def _summarize(server: AuthServer) -> None:
    seen = server.counters
    message = (
        f"token requests {seen.token_requests}, refreshes {seen.refreshes}, reuse detected {seen.reuse_detected}, "
        f"session {server.session}"
    )
    write_lines([message])


def _wait_for_eof(ended: SimpleQueue[None]) -> None:
    sys.stdin.read()
    ended.put(None)
