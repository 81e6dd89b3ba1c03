"""`onerefresh store copy`: move all credentials from one store to another, while programs use both."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from importlib.util import find_spec

from onerefresh.cli.arguments import Subparsers, add_command
from onerefresh.cli.failure import explain
from onerefresh.cli.output import say
from onerefresh.cli.progress_bar import WithBar, print_above, progress_bar
from onerefresh.config.refresher import imported
from onerefresh.errors import ConfigurationError, OnerefreshError
from onerefresh.moving import Copied, Moved, copy
from onerefresh.secret import Secret
from onerefresh.store import Store
from onerefresh.stores import holds_password, open_store

_DESCRIPTION = """\
Move every credential from the store FROM to the store TO, while programs use both. If a refresh is under way, wait for
it. In FROM a record without tokens remains: programs that know only FROM get an error that names TO, and programs that
know both (moved_from) use TO from now on. Newer records in TO stay. If the copy is interrupted, or a credential could
not be moved, run it again. To go back, move everything from TO to FROM.
"""
_EPILOG = """\
FROM and TO are each
    a store's URL without a password:      sqlite:///tokens.db, postgresql://app@db.example.com/app
    a variable with the URL:               env:TOKEN_STORE
    a function that returns a Store:       package.module:function (for an EncryptedStore)

examples:
    onerefresh store copy sqlite:///tokens.db env:TOKEN_STORE --verify
    onerefresh store copy app.stores:old app.stores:new --verify
"""
_DONE = {
    Moved.MOVED: "moved",
    Moved.ALREADY: "had been moved before",
    Moved.NEWER: "TO had something newer, which was kept",
    Moved.NOTHING: "is gone",
}


def add(subparsers: Subparsers) -> None:
    """Add the action to a parser."""
    line = "move all credentials from one store to another, while programs use both"
    parser = add_command(subparsers, "copy", line, _DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("source", metavar="FROM", help="the store that has the credentials")
    parser.add_argument("target", metavar="TO", help="the store that gets them")
    parser.add_argument("--verify", action="store_true", help="compare both stores afterwards")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Move the credentials."""
    with contextlib.ExitStack() as stores:
        source, target = (_opened(args, name) for name in ("source", "target"))
        stores.callback(source.close)
        stores.callback(target.close)
        with _Show() as show:
            done = copy(source, target, verify=args.verify, progress=show.report)
        for key, problem in done.differ.items():
            say(f"{key}: {problem}")
        say(_summary(done, source, target, verified=args.verify))
    return 1 if done.failed or done.differ else 0


def _opened(args: argparse.Namespace, name: str) -> Store:
    """The store that an argument names. Raises `ConfigurationError`."""
    word = getattr(args, name)
    if word.startswith("env:"):
        url = os.environ.get(word.removeprefix("env:"))
        if not url:
            raise ConfigurationError(f"the variable {word.removeprefix('env:')} is not set: it has to hold the URL")
        return _shared(open_store(Secret(url)))
    if word != "sqlite" and "://" not in word and re.fullmatch(r"[\w.]+:\w+", word):
        return _made_by(word)
    if holds_password(word):
        setattr(args, name, None)  # it would show in a traceback with locals
        del word
        raise ConfigurationError(
            "a password on the command line can be seen by every user of this machine: put the URL into a variable "
            "and write env:NAME"
        )
    return _shared(open_store(word))


def _made_by(reference: str) -> Store:
    made = imported(reference, "store")()
    if not isinstance(made, Store):
        raise ConfigurationError(f"store {reference!r} must return a Store, not {type(made).__name__}")
    return made


def _shared(store: Store) -> Store:
    if store.name == "memory":
        raise ConfigurationError("a store in memory ends with its program: name another one")
    return store


def _summary(done: Copied, source: Store, target: Store, *, verified: bool) -> str:
    if not done.total:
        return f"{source.name} has no credentials"
    parts = [f"{done.moved} of {done.total} credentials moved from {source.name} to {target.name}"]
    parts += [f"{done.already} had been moved before"] if done.already else []
    parts += [f"{done.kept} kept, because they are newer there"] if done.kept else []
    parts += [f"{len(done.failed)} not moved: run it again"] if done.failed else []
    if verified:
        parts.append(f"{len(done.differ)} are not as they should be" if done.differ else "compared, all is well")
    return "; ".join(parts)


class _Show(WithBar):
    """Shows a progress bar and what went wrong on a terminal, else a line for each credential."""

    def __init__(self) -> None:
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        super().__init__(progress_bar(None) if is_terminal and find_spec("rich") is not None else None)

    def report(self, key: str, did: Moved | OnerefreshError, sum_: Copied) -> None:
        line = f"{key}: {_DONE[did]}" if isinstance(did, Moved) else f"{_named(key, did)}"
        if self._bar is None:
            say(line)
            return
        if did is not Moved.MOVED and did is not Moved.ALREADY:
            print_above(self._bar, line)
        failed = f"{len(sum_.failed)} failed" if sum_.failed else ""
        self._bar.update(self._bar.task_ids[0], completed=sum_.done, total=sum_.total, message=failed)


def _named(key: str, error: OnerefreshError) -> str:
    return f"{explain(error.about(key))}; not moved"
