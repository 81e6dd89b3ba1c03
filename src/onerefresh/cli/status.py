"""`onerefresh status`: what the store knows of a credential, in words."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import time
from datetime import datetime

from onerefresh import config
from onerefresh.cli.arguments import Subparsers, add_command
from onerefresh.cli.failure import LOG_IN, exit_code
from onerefresh.cli.hints import for_command
from onerefresh.cli.output import write_exactly, write_lines
from onerefresh.cli.words import amount, life
from onerefresh.config import Entry
from onerefresh.credential import Status
from onerefresh.errors import OnerefreshError
from onerefresh.expiry import skew_in_words
from onerefresh.record import Entry as Change
from onerefresh.verdict import EITHER

_DESCRIPTION = """\
Show what the store holds for one credential, or for all in the configuration file. Nothing is refreshed and no token is
shown. With a NAME, the exit code is 4 if a new login is needed; without one, it is 0 if all could be read.
"""


def add(subparsers: Subparsers) -> None:
    """Add the command to a parser."""
    line = "show the state of one credential or of all; nothing is refreshed"
    parser = add_command(subparsers, "status", line, _DESCRIPTION)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the credential (default: all)")
    parser.add_argument(
        "--json", action="store_true", help="print JSON: with a NAME an object, otherwise a list of objects"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the status."""
    configuration = config.read(args.config)
    now = time.time()
    if args.name is not None:
        entry = configuration.named(args.name)
        status = entry.open().status()
        if args.json:
            write_exactly(_as_json(_fields(status)))
        else:
            write_lines(_details(status, now, entry))
        return LOG_IN if _needs_login(status, can_obtain=_can_obtain(entry)) else 0
    looked = [(entry, *_looked_at(entry)) for entry in configuration.entries.values()]
    code = next((exit_code(error) for _, _, error in looked if error is not None), 0)
    if args.json:
        write_exactly(
            _as_json([_fields(status) if status else _unread(entry, error) for entry, status, error in looked])
        )
        return code
    rows = [
        (entry.name, _summary(status, now, entry) if status else f"cannot be read: {_words(entry, error)}")
        for entry, status, error in looked
    ]
    width = max((len(name) for name, _ in rows), default=0)
    write_lines(
        [f"{name:{width}}  {message}" for name, message in rows] or [f"{configuration.path} has no credentials"]
    )
    return code


def _looked_at(entry: Entry) -> tuple[Status | None, OnerefreshError | None]:
    """The status of one of several credentials; one that cannot be read must not hide the others."""
    try:
        return entry.open().status(), None
    except OnerefreshError as error:
        return None, error


def _words(entry: Entry, error: OnerefreshError | None) -> str:
    return for_command(error.message, entry.name) if error else ""


def _unread(entry: Entry, error: OnerefreshError | None) -> dict[str, object]:
    message = for_command(error.message, entry.name) if error else None
    return {"credential": entry.name, "error": message, "store": str(entry.store)}


def _can_obtain(entry: Entry) -> bool:
    return entry.endpoint.get("grant") == "client_credentials"


def _needs_login(status: Status, *, can_obtain: bool) -> bool:
    if status.moved_to is not None:
        return False
    logged_out = status.state == "empty" and status.generation > 0
    is_over = status.state in ("empty", "dead") or (status.doubts > 0 and not _serves(status))
    return logged_out or (is_over and not can_obtain)


def _serves(status: Status) -> bool:
    return status.expires_at is None or status.expires_at + status.clock_skew > time.time()


def _summary(status: Status, now: float, entry: Entry) -> str:
    can_obtain, name = _can_obtain(entry), shlex.quote(status.key)
    login = f"onerefresh login {name} --with-token"
    if status.state == "empty":
        if status.moved_to is not None:
            return f"moved to {status.moved_to}: name that store in the file"
        if status.generation:
            return "logged out" if can_obtain else f"logged out: log in with: {login}"
        return "no token yet; the first call fetches one" if can_obtain else f"no token yet: log in with: {login}"
    failure = for_command(status.failure or "", status.key)
    if status.state == "dead":
        over_for = f" for {amount(now - status.since)}" if status.since is not None and now > status.since else ""
        if can_obtain:
            return f"the session has been over{over_for}; the next call gets another one ({failure})"
        return f"the session is over{over_for}: log in again with: {login} ({failure})"
    message = f"generation {status.generation} {life(status.expires_at, now - status.clock_skew)}"
    if status.state == "leased":
        message += ", being restored in its store and then refreshed" if status.recovering else ", being refreshed now"
    elif status.expires_at is not None and status.expires_at + status.clock_skew <= now:
        # A function may renew without a refresh token, from the access token alone.
        asks = f": log in again with: {login}" if entry.refresher is None else ", the next call asks its refresher"
        message += ", the next call refreshes it" if status.refreshable or can_obtain else asks
    if status.failure:
        problem = "the next refresh is postponed" if status.put_off else "the last refresh failed"
        message += f"; {problem}: {failure}"
    if status.doubts:
        times = "" if status.doubts == 1 else f" ({status.doubts} times)"
        message += f"{times}: {for_command(EITHER, status.key)}"
    if not status.asks_again:
        message += f"; nothing is sent before a new login or: onerefresh retry {name}"
    elif status.retry_after:
        message += f"; nothing is sent for {amount(status.retry_after)}"
        message += f", or until: onerefresh retry {name}" if status.doubts else ""
    return message


def _details(status: Status, now: float, entry: Entry) -> list[str]:
    lines = {
        "credential": status.key,
        "status": _summary(status, now, entry),
        "expires": "not known" if status.expires_at is None else _moment(status.expires_at),
        "refreshable": _refreshable(status, entry, now),
        "scope": status.scope or "not shown",
        "store": status.store + (f", encrypted {entry.encrypt}" if entry.encrypt is not None else ""),
        **({"clock": skew_in_words(status.clock_skew)} if status.clock_skew else {}),
    }
    if entry.provider is not None:
        lines = {"credential": lines.pop("credential"), "provider": entry.provider, **lines}
    shown = [f"{name:12} {value}" for name, value in lines.items()]
    history = [f"    {_moment(entry.at)}  generation {entry.generation}: {_told(entry)}" for entry in status.history]
    return [*shown, "history", *history] if history else shown


def _refreshable(status: Status, entry: Entry, now: float) -> str:
    """Whether a refresh may bring the next token, and until when; if not, why, and since when."""
    ends_at = status.refresh_expires_at
    if _can_obtain(entry) or (status.refreshable and ends_at is None):
        return "yes"
    if status.refreshable and ends_at is not None:
        ended = ends_at + status.clock_skew <= now
        moves = "" if ended or status.refresh_end_moves else ", which a refresh does not move"
        return f"{'probably not: its refresh token ended' if ended else 'yes, until'} {_moment(ends_at)}{moves}"
    if status.state == "empty":
        why = (
            "it was moved" if status.moved_to else "it was logged out" if status.generation else "there is no token yet"
        )
    elif status.state == "dead":
        why = "the session is over"
    elif not status.asks_again:
        why = "the last refresh failed in a way that a person has to look at"
    else:
        return "yes, by its refresher" if entry.refresher is not None else "no: there is no refresh token"
    return f"no: {why}" if status.since is None else f"no, since {_moment(status.since)}: {why}"


def _told(entry: Change) -> str:
    """What has happened, which process did it, and why."""
    by = f" by {entry.process}" if entry.process else ""
    return f"{entry.what}{by}" + (f" ({entry.reason})" if entry.reason else "")


def _moment(at: float) -> str:
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError, TypeError):  # another program has written it
        return "at an invalid time"


def _fields(status: Status) -> dict[str, object]:
    fields = dataclasses.asdict(status)
    history = [{**_fields_of(entry), "process": entry.process, "reason": entry.reason} for entry in status.history]
    failure = None if status.failure is None else for_command(status.failure, status.key)
    return {"credential": fields.pop("key"), **fields, "failure": failure, "history": history}


def _fields_of(entry: Change) -> dict[str, object]:
    return {"generation": entry.generation, "at": entry.at, "what": entry.what}


def _as_json(shown: object) -> str:
    return json.dumps(shown, indent=2) + "\n"
