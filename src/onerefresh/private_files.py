"""Files and folders that hold secrets: private to this user from the moment they exist.

Nothing here opens an existing file: when a process closes any descriptor of a file, POSIX drops all of its locks on
that file, SQLite's too. The folders are safe, so what was checked is what will be opened.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.safe_folders import (
    KNOWS_OWNERS,
    Allowed,
    Place,
    Trust,
    UnsafePath,
    follow,
    others_can_write,
    own_uid,
    trust,
)

__all__ = [
    "absolute",
    "at_home",
    "check_file",
    "check_private",
    "check_settings",
    "file_of_ours",
    "make_folder",
    "state_folder",
    "sync_folder",
]


def state_folder() -> Path:
    r"""The platform's folder for the state of onerefresh. The folder is not made here.

    ``$ONEREFRESH_STATE``, else ``$XDG_STATE_HOME/onerefresh`` (``~/.local/state``), on macOS ``~/Library/Application
    Support/onerefresh``, on Windows ``%LOCALAPPDATA%\onerefresh``.

    Raises `ConfigurationError` where this user has no home folder, and where the variable holds a relative path: the
    working folder may belong to anybody, and is another one each time.
    """
    try:
        chosen = os.environ.get("ONEREFRESH_STATE")
        if chosen:
            folder = at_home(chosen)
            if not folder.is_absolute():
                raise ConfigurationError(f"ONEREFRESH_STATE must be an absolute path, not {chosen!r}")
            return folder
        if sys.platform == "darwin":
            base = at_home("~/Library/Application Support")
        elif os.name == "nt":
            base = Path(os.environ.get("LOCALAPPDATA") or at_home("~/AppData/Local"))
        else:
            given = os.environ.get("XDG_STATE_HOME", "")
            base = Path(given) if given.startswith("/") else at_home("~/.local/state")
    except RuntimeError:
        raise ConfigurationError("this user has no home folder: set ONEREFRESH_STATE to a private folder") from None
    return base / "onerefresh"


def at_home(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` expanded. Raises `RuntimeError` where there is no such home, or it is a relative path."""
    expanded = Path(path).expanduser()
    if expanded != Path(path) and not expanded.is_absolute():
        raise RuntimeError("a home folder that is a relative path")
    return expanded


def absolute(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` expanded, from this working folder on where it is relative.

    Raises `ConfigurationError` where there is no such home, or no working folder.
    """
    try:
        return at_home(path).absolute()
    except RuntimeError:
        raise ConfigurationError(f"{os.fspath(path)}: there is no such home folder; write the full path") from None
    except OSError:
        raise ConfigurationError(
            f"{os.fspath(path)!r} is a relative path, and the working folder was deleted: write the full path"
        ) from None


def check_settings() -> None:
    """Raise `ConfigurationError` where a variable about folders is wrong.

    The code that uses the variable later has no caller to whom it could report that.
    """
    trust()
    if os.environ.get("ONEREFRESH_STATE"):
        state_folder()


def make_folder(folder: Path, trusted: Trust, *, wanted: str) -> Allowed:
    """Make the folder of the file `wanted`, with its parents, where it is missing: mode 0700, and durable.

    Raises `StoreUnavailable` where that fails, or where other users could put something of theirs on the path.
    """
    place = _way_to(f"{folder}/.", trusted, wanted=wanted)
    if place.found is not None:
        return place.allowed
    missing = [new for new in (folder, *folder.parents) if not os.path.lexists(new)]
    try:
        for new in reversed(missing):
            new.mkdir(mode=0o700, exist_ok=True)
            sync_folder(new.parent)
    except OSError as error:
        raise StoreUnavailable(f"the folder {folder} cannot be created: {error.strerror}") from None
    place = _way_to(f"{folder}/.", trusted, wanted=wanted)  # another process may have made it meanwhile
    if place.found is None:
        raise StoreUnavailable(f"the folder {folder} is a broken link: remove it")
    return place.allowed


def check_file(path: Path, trusted: Trust, *, link: bool = True, beside: Sequence[str] = ()) -> bool:
    """Whether the file exists, in a safe folder and private to this user.

    `link`: whether it may be a link to the file. `beside`: endings of files beside it that must be private, too, where
    they exist. Raises `StoreUnavailable`, whose message says what to do.
    """
    place = _way_to(path, trusted, link=link)
    for ending in beside if place.has_folder else ():
        other = place.path.with_name(place.path.name + ending)
        try:
            found = other.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreUnavailable(f"{other} cannot be read: {error.strerror}") from None
        check_private(other, found, place.allowed)
    if place.found is None:
        return False
    check_private(path, place.found, place.allowed)
    if not os.access(path, os.R_OK):
        raise StoreUnavailable(f"{path} cannot be read: run chmod 600 {shlex.quote(str(path))}")
    return True


def check_private(path: Path, found: os.stat_result, allowed: Allowed) -> None:
    """Raise `StoreUnavailable` where this is not a regular file, or where other users own or can read it."""
    if stat.S_ISLNK(found.st_mode):
        raise StoreUnavailable(f"{path} is a link: remove it, or use the path of the file that it leads to")
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnavailable(f"{path} is not a file")
    if not KNOWS_OWNERS:
        return
    if found.st_uid != own_uid() and found.st_uid not in allowed.owners:
        raise StoreUnavailable(f"{path} belongs to another user (uid {found.st_uid}): use a file of your own")
    if found.st_mode & (0o007 if found.st_gid in allowed.groups else 0o077):
        raise StoreUnavailable(
            f"others can read {path}: run chmod 600 {shlex.quote(str(path))}, and log in again if they may have read it"
        )


def file_of_ours(path: Path, trusted: Trust, why: str, *, own_group: bool = True) -> Path:
    """The file to which `path` leads through safe folders.

    This user or root owns it, and others cannot write to it. `why`: what others could do otherwise. `own_group`:
    whether the user's private group may write to it. Raises `ConfigurationError`, whose message says what to do, and
    `OSError` where nothing is there.
    """
    try:
        place = follow(path, trusted, why=why, own_group=own_group)
    except UnsafePath as error:
        raise ConfigurationError(str(error)) from None
    found, allowed = place.found, place.allowed
    if found is None:
        raise FileNotFoundError(2, os.strerror(2))
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(21, os.strerror(21))
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{path} is not a file")
    if not KNOWS_OWNERS:
        return place.path
    if found.st_uid not in (own_uid(), 0) and found.st_uid not in allowed.owners and not allowed.anybody:
        raise ConfigurationError(
            f"{path} belongs to another user (uid {found.st_uid}), who could {why}: use a file and a folder of your own"
        )
    if others_can_write(found, allowed, own_group=own_group):
        raise ConfigurationError(
            f"others can write to {path} and could {why}: run chmod go-w {shlex.quote(str(place.path))}"
        )
    return place.path


def _way_to(path: str | Path, trusted: Trust, *, link: bool = True, wanted: str = "") -> Place:
    """Follow `path`. Raises `StoreUnavailable` where it is unsafe or cannot be followed."""
    try:
        return follow(path, trusted, link=link, wanted=wanted)
    except UnsafePath as error:
        raise StoreUnavailable(str(error)) from None
    except OSError as error:
        raise StoreUnavailable(f"{str(path).removesuffix('/.')} cannot be read: {error.strerror}") from None


def sync_folder(folder: Path) -> None:
    """Make the names in the folder durable."""
    if os.name == "nt":
        return  # a folder cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
