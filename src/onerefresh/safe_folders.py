"""The folders on the way to a file that this user trusts: no other user can put anything of theirs there.

As in OpenSSH, every folder belongs to this user or to root, and others cannot write to it. On the way a sticky folder
will do, such as the system's temporary one, but not as the folder of the file itself: there others could put a file
beside it, such as a journal that SQLite would play back. The path is followed part by part, as the system follows it,
so that the folder of each link is checked, too.

Where a set-up differs, ``ONEREFRESH_TRUSTED_FOLDERS`` or a store's URL names the folders that are trusted.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from onerefresh.errors import ConfigurationError
from onerefresh.limited_log import log

__all__ = [
    "KNOWS_OWNERS",
    "ROOT",
    "Allowed",
    "Place",
    "Trust",
    "UnsafePath",
    "follow",
    "others_can_write",
    "own_uid",
    "trust",
]

VARIABLE = "ONEREFRESH_TRUSTED_FOLDERS"
ROOT = Path("/")
MOST_LINKS = 40  # as many as Linux follows
UNMAPPED = 65_534
"""The uid of every user whom a user namespace does not know, unless the system states another one."""

_logged: set[Path] = set()

KNOWS_OWNERS = hasattr(os, "geteuid")
"""Whether files have an owner and a mode that say who can read them. Windows has lists of access rights in their place.

What this library makes there lies in the user's own folders, whose rights it inherits.
"""


def own_uid() -> int:
    """This user's number, where there are numbers."""
    geteuid: Callable[[], int] | None = getattr(os, "geteuid", None)
    return -1 if geteuid is None else geteuid()


class UnsafePath(Exception):
    """Other users could put something of theirs on the way to a file; the message says what to do."""


class Allowed(NamedTuple):
    """Who, beside this user, may own and write what lies in a folder.

    `anybody`: every user who can write to the folder. `here_alone`: the folders in it allow fewer users.
    """

    owners: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    anybody: bool = False
    here_alone: bool = False


class Place(NamedTuple):
    """Where a path leads. `found`: None where nothing is there; `has_folder`: whether at least its folder is."""

    path: Path
    found: os.stat_result | None
    allowed: Allowed
    has_folder: bool = True


class Trust(NamedTuple):
    """The folders that the user trusts, as absolute paths without links."""

    folders: frozenset[Path] = frozenset()


def trust(more: str = "") -> Trust:
    """The folders that ``$ONEREFRESH_TRUSTED_FOLDERS`` and `more` name, with colons between them.

    The owner of such a folder, and everybody who can write to it, is trusted with the folder. Its owner, and a group
    that can write to it, are also trusted with all that is below. Each folder is logged once. Raises
    `ConfigurationError` for a relative path.
    """
    named = {VARIABLE: os.environ.get(VARIABLE, ""), "trusted_folders": more}
    folders: set[Path] = set()
    for source, value in named.items():
        for folder in filter(None, value.split(os.pathsep)):
            if not Path(folder).is_absolute():
                raise ConfigurationError(
                    f"{source}: {folder!r} is a relative path: write absolute paths, separated by {os.pathsep!r}"
                )
            folders.add(Path(f"/{folder.lstrip('/')}" if os.sep == "/" else folder))
    for new in sorted(folders - _logged):
        _logged.add(new)
        log(logging.INFO, f"as configured, all users who own the folder {new} or can write to it are trusted")
    return Trust(frozenset(folders))


def follow(
    path: str | os.PathLike[str],
    trusted: Trust,
    *,
    why: str = "replace what is in it",
    link: bool = True,
    own_group: bool = True,
    wanted: str = "",
) -> Place:
    """Where `path` leads through safe folders. A path that ends in ``/.`` is that folder, as the folder of a file.

    * `why`: what others could do otherwise.
    * `link`: whether the last part may be a link, which is then followed.
    * `own_group`: whether the user's private group may write to the file's own folder.
    * `wanted`: the name of the file, where the path does not end in it.

    Raises `UnsafePath`, and `OSError` where it cannot be followed. Windows has other permissions, and nothing is
    checked there.
    """
    if not KNOWS_OWNERS:
        whole = Path(path).absolute()
        found = whole.stat(follow_symlinks=link) if os.path.lexists(whole) else None
        return Place(whole, found, Allowed(), whole.parent.is_dir())
    walk = _Walk(trusted, why)
    # Not normalised: what ".." means depends on the links before it.
    place = walk.to(f"{Path.cwd()}/{os.fspath(path)}" if not Path(path).is_absolute() else os.fspath(path), link=link)
    if place.has_folder:
        walk.look_at_the_nearest(wanted or place.path.name, own_group=own_group)
    walk.judge()
    return place


class _Step(NamedTuple):
    """A folder on the way."""

    path: Path
    found: os.stat_result
    allowed: Allowed


class _Walk:
    """One walk from the root, and what is wrong with the folders on the way."""

    def __init__(self, trusted: Trust, why: str) -> None:
        self._trusted, self._why = trusted.folders, why
        self._steps: list[_Step] = []
        self._problems: dict[Path, str] = {}

    def to(self, path: str, *, link: bool) -> Place:
        todo, links = path.split("/")[::-1], 0
        self._enter(ROOT, ROOT.lstat())
        while todo:
            part = todo.pop()
            here = self._steps[-1]
            if part in ("", ".", "/"):
                continue
            if part == "..":
                del self._steps[max(len(self._steps) - 1, 1) :]
                continue
            entry, is_last = here.path / part, not any(todo)
            try:
                found = entry.lstat()
            except FileNotFoundError:
                return Place(entry.joinpath(*todo[::-1]), None, here.allowed, is_last)
            if stat.S_ISLNK(found.st_mode) and (link or not is_last):
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                self._check_link(entry, found)
                target = entry.readlink()
                if target.is_absolute():
                    del self._steps[1:]
                todo.extend(target.parts[::-1])
            elif is_last:
                return Place(entry, found, here.allowed)
            else:
                self._enter(entry, found)
        return Place(self._steps[-1].path, self._steps[-1].found, self._steps[-1].allowed)

    def _enter(self, folder: Path, found: os.stat_result) -> None:
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        above = self._steps[-1].allowed if self._steps else Allowed()
        allowed = Allowed(above.owners - {_unmapped()}, above.groups) if above.here_alone else above
        if self._trusted and folder in self._trusted:
            allowed = _with_those_of(found, allowed)
        self._steps.append(_Step(folder, found, allowed))
        self._look_at(self._steps[-1])

    def look_at_the_nearest(self, wanted: str, *, own_group: bool) -> None:
        """Check the last folder as that of the file `wanted`: no other user at all may write to it."""
        self._look_at(self._steps[-1], wanted, own_group=own_group)

    def _look_at(self, step: _Step, wanted: str = "", *, own_group: bool = True) -> None:
        if self._trusted and step.path in self._trusted:
            return
        problem = self._problem(step, wanted, own_group=own_group)
        if problem:
            self._problems.setdefault(step.path, problem)

    def _problem(self, step: _Step, wanted: str, *, own_group: bool) -> str:
        folder, found = step.path, step.found
        if not _is_owned(found, step.allowed):
            unmapped = ", which may be any user outside this user namespace" if found.st_uid == _unmapped() else ""
            return (
                f"the folder {folder} belongs to another user (uid {found.st_uid}{unmapped}), who could {self._why}: "
                "use a folder of your own"
            )
        if not others_can_write(found, step.allowed, own_group=own_group):
            return ""
        if found.st_mode & stat.S_ISVTX:
            if not wanted:
                return ""
            if found.st_uid != own_uid() or found.st_uid == 0:
                mine = folder / f"onerefresh-{own_uid()}"
                return (
                    f"others can put their own files next to {wanted} in the folder {folder}: "
                    f"run mkdir -m 700 {shlex.quote(str(mine))}, and use {mine / wanted}"
                )
        as_root = " as root" if found.st_uid != own_uid() else ""
        return (
            f"others can write to the folder {folder} and could {self._why}: "
            f"run chmod go-w {shlex.quote(str(folder))}{as_root}"
        )

    def _check_link(self, entry: Path, found: os.stat_result) -> None:
        """Raise `UnsafePath` for a link of another user, in a folder where others can make links.

        It leads wherever that user likes, and may lead elsewhere later.
        """
        here = self._steps[-1]
        if (
            others_can_write(here.found, here.allowed)
            and not here.allowed.anybody
            and not _is_owned(found, here.allowed)
        ):
            raise UnsafePath(
                f"{entry} is a link that another user made (uid {found.st_uid}), who could {self._why}: "
                "use a path without it"
            )

    def judge(self) -> None:
        """Raise what is wrong, with all folders that would have to be trusted for this path."""
        if not self._problems:
            return
        folders = [str(folder) for folder in self._problems]
        named = [*filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)), *folders]
        way_out = ""
        if not any(os.pathsep in folder for folder in folders):
            way_out = (
                f"; or, if you trust all users who could do that, set {VARIABLE}={shlex.quote(os.pathsep.join(named))}"
            )
        raise UnsafePath([*self._problems.values()][-1] + way_out)


def others_can_write(found: os.stat_result, allowed: Allowed, *, own_group: bool = True) -> bool:
    """Whether any user beside this one, root and the allowed ones can write there."""
    if found.st_mode & stat.S_IWOTH:
        return not allowed.anybody
    if not found.st_mode & stat.S_IWGRP or found.st_gid in allowed.groups:
        return False
    return not (own_group and _is_private_group(found.st_gid))


def _is_owned(found: os.stat_result, allowed: Allowed) -> bool:
    return found.st_uid in (own_uid(), 0) or found.st_uid in allowed.owners


def _with_those_of(folder: os.stat_result, above: Allowed) -> Allowed:
    """Who is allowed in a trusted folder, and below it."""
    groups = set(above.groups)
    # A folder that all can write to says nothing of its group, unless files made in it get that group.
    if folder.st_mode & stat.S_IWGRP and (not folder.st_mode & stat.S_IWOTH or folder.st_mode & stat.S_ISGID):
        groups.add(folder.st_gid)
    anybody = bool(folder.st_mode & stat.S_IWOTH) and not folder.st_mode & stat.S_ISVTX
    # This uid stands for many users. What lies in a folder of one of them is there with that user's consent.
    here_alone = anybody or folder.st_uid == _unmapped()
    return Allowed(above.owners | {folder.st_uid}, frozenset(groups), anybody, here_alone)


def _unmapped() -> int:
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_bytes())
    except (OSError, ValueError):
        return UNMAPPED


def _is_private_group(gid: int) -> bool:
    """Whether this is the group that many systems give each user, without other members."""
    grp, pwd = (importlib.import_module(name) for name in ("grp", "pwd"))
    try:
        user, group = pwd.getpwuid(own_uid()), grp.getgrgid(gid)
    except KeyError:
        return False
    if gid != user.pw_gid or group.gr_name != user.pw_name or not set(group.gr_mem) <= {user.pw_name}:
        return False
    return all(other.pw_name == user.pw_name or other.pw_gid != gid for other in pwd.getpwall())
