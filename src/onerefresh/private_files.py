"""Files and folders that hold secrets: this user's alone from the moment that they exist.

Nothing here opens a file that exists: POSIX drops all locks that a process has on a file, SQLite's too, when the
process closes any descriptor of it.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from onerefresh.errors import ConfigurationError, StoreUnavailable

__all__ = ["check_file", "check_folder", "make_folder", "state_folder", "sync_folder"]


def state_folder() -> Path:
    """The platform's folder for a program's state, of onerefresh: not made here.

    ``$ONEREFRESH_STATE``, else ``$XDG_STATE_HOME/onerefresh`` (``~/.local/state``), on macOS
    ``~/Library/Application Support/onerefresh``, on Windows ``%LOCALAPPDATA%\\onerefresh``.

    Raises `ConfigurationError` where this user has no home.
    """
    try:
        chosen = os.environ.get("ONEREFRESH_STATE")
        if chosen:
            return Path(chosen).expanduser().absolute()
        if sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        elif os.name == "nt":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        else:
            given = os.environ.get("XDG_STATE_HOME", "")
            base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:
        raise ConfigurationError("this user has no home folder: set ONEREFRESH_STATE to a private folder") from None
    return base / "onerefresh"


def make_folder(folder: Path) -> None:
    """Make the folder where it is missing, with its parents: 0700, and durable. Then as `check_folder`."""
    if not os.path.lexists(folder):
        missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
        try:
            for place in reversed(missing):
                place.mkdir(mode=0o700, exist_ok=True)
                sync_folder(place.parent)
        except OSError as error:
            raise StoreUnavailable(f"the folder {folder} cannot be made: {error.strerror}") from None
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Raise `StoreUnavailable` where this is no folder, or where others can put their own files into it."""
    try:
        found = folder.stat()
    except OSError as error:
        raise StoreUnavailable(f"the folder {folder} cannot be read: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise StoreUnavailable(f"{folder} is not a folder")
    if os.name == "nt" or found.st_mode & stat.S_ISVTX:
        return
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_private_group(found.st_gid)):
        raise StoreUnavailable(
            f"others can write to the folder {folder}, and so replace what is in it: run chmod go-w {folder}"
        )


def _is_private_group(gid: int) -> bool:
    """Whether this is the group that many systems give each user, with nobody else in it."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == user.pw_gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def check_file(path: Path) -> bool:
    """Whether there is such a file. Raises `StoreUnavailable` where others own or can read it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnavailable(f"{path} is not a file")
    if os.name == "nt":
        return True
    if found.st_uid != os.geteuid():
        raise StoreUnavailable(f"{path} belongs to another user (uid {found.st_uid}): name a file of your own")
    if found.st_mode & 0o077:
        raise StoreUnavailable(
            f"others can read {path}: run chmod 600 {path}, and log in again if they may have done so"
        )
    if not os.access(path, os.R_OK):
        raise StoreUnavailable(f"{path} cannot be read: run chmod 600 {path}")
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in the folder durable."""
    if os.name == "nt":
        return  # a folder cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
