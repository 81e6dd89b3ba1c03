"""The spool: files on this host in which new tokens wait while their store is down.

Each attempt has one file, 0600 in a 0700 folder. It is written whole or not at all, never overwritten by another
attempt's, and encrypted where its store is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from dataclasses import replace
from pathlib import Path

from onerefresh.errors import ConfigurationError, OnerefreshError, StoreUnavailable
from onerefresh.limited_log import Topic, log_limited
from onerefresh.private_files import check_file, make_folder, state_folder, sync_folder
from onerefresh.record import Grant
from onerefresh.record_text import token_from_fields, token_to_fields
from onerefresh.renewal.world import Spooled
from onerefresh.safe_folders import trust
from onerefresh.secret import Secret
from onerefresh.store import Store, Unreadable
from onerefresh.stored_fields import NEWER, Field, Newer, attributes, check_schema, known_word, stored
from onerefresh.stored_values import (
    CHECKSUM,
    check_whole,
    checksum_of,
    generation_before,
    number_or_none,
    table,
    text,
    text_or_none,
    texts,
    truth,
)

__all__ = ["Spool"]


_said: set[str] = set()
MOST_SAID = 1000
"""At how many problems it is remembered that they were logged."""
_folders: dict[Path, Path] = {}
"""One object for each folder: a process with many credentials has as many spools."""
SCHEMA = 1
"""The version of a file's form. It is not written as long as it is 1."""


def _grant(word: object) -> Grant:
    """The stored grant. Raises `Newer` for an unknown one, since the token's family cannot be guessed then."""
    return known_word(Grant, word)


ENTRY = (
    Field("family", "family", text, needed=True),
    Field("generation", "generation", generation_before, needed=True),
    Field("attempt", "attempt", text, needed=True),
    Field("grant", "grant", _grant, needed=True, write=lambda grant: grant.value),
    Field("refused", "refused", truth, needed=True),
    Field("repeated", "repeated", truth),
    Field("useless", "useless", text),
    Field("owner", "owner", text_or_none),
    Field("families", "families", texts, write=list),
    Field("token", "token", token_from_fields, needed=True, write=token_to_fields),
    Field("skew", "skew", number_or_none),
)


class Spool:
    """The spool files of one credential in one store. No method raises for what the disk does.

    A store without a name of its own has no spool: its files could be those of another such store.
    """

    def __init__(self, store: Store, key: str, folder: Path | None = None) -> None:
        self._store, self._key = store, key
        digest = hashlib.sha256(f"{store.name}\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._prefix = f"{digest}."
        self._done: set[str] = set()
        self.folder = folder or (None if store.name == Store.name else _default_folder())

    def read(self) -> Spooled | None:
        """An entry that is spooled and not yet dropped; None where there is none that can be read.

        Raises `StoreUnavailable` for a file that is encrypted with a key which is not at hand, and for one that a newer
        version wrote: the token in it may be the only one that works.
        """
        if self.folder is None:
            return None
        try:
            paths = sorted(self.folder / name for name in self._names() if name.endswith(".json"))
        except OSError:
            return None
        entries = [(path, entry) for path in paths if (entry := self._read(path)) is not None]
        waiting = (entry for path, entry in entries if path == self._path(self.folder, entry))
        return next((entry for entry in waiting if entry.attempt not in self._done), None)

    def write(self, entry: Spooled) -> bool:
        """Keep `entry` durably; whether that worked."""
        if self.folder is None:
            return False
        path = self._path(self.folder, entry)
        part = path.with_suffix(".part")
        try:
            text = Secret(self._store.seal(self._key, _encoded(entry)))
            make_folder(self.folder, trust(), wanted=path.name)
            part.unlink(missing_ok=True)  # left by a write that was cut off, or by something else
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text.reveal())
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
                return False
            sync_folder(self.folder)
        except (StoreUnavailable, ConfigurationError) as error:
            _say(self.folder, error)
            return False
        except Exception:  # noqa: BLE001 - a user's store may raise anything, and the renewal still has the token
            return False
        return True

    def drop(self, entry: Spooled) -> None:
        """Delete the entry. One that cannot be deleted is not read again by this object."""
        self._done.add(entry.attempt)
        if self.folder is not None:
            with contextlib.suppress(OSError):
                self._path(self.folder, entry).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all entries, readable or not."""
        if self.folder is not None:
            with contextlib.suppress(OSError):
                for name in self._names():
                    (self.folder / name).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        """The names of this credential's files. Other credentials may have thousands here."""
        if self.folder is None:
            return []
        return [path.name for path in self.folder.iterdir() if path.name.startswith(self._prefix)]

    def _read(self, path: Path) -> Spooled | None:
        try:
            if not check_file(path, trust(), link=False):
                return None
            text = Secret(path.read_text("utf-8"))
        except (StoreUnavailable, ConfigurationError) as error:
            _say(path.parent, error)
            return None
        except (OSError, UnicodeDecodeError):
            return None
        try:
            text = Secret(self._store.unseal(self._key, text.reveal()))
        except StoreUnavailable as error:
            if isinstance(error, Unreadable) and error.damaged:
                return None
            problem = error.message
        else:
            entry, problem = _decoded(text.reveal())
            if not problem:
                return entry
        raise StoreUnavailable(f"{path}: {problem}", credential=self._key)

    def _path(self, folder: Path, entry: Spooled) -> Path:
        return folder / f"{self._prefix}{entry.attempt}.json"


def _say(folder: Path, error: OnerefreshError) -> None:
    """Log once why no token can wait here, since the crash that would show it comes later.

    The message may name a file, and there may be one for each credential.
    """
    if error.message not in _said:
        if len(_said) >= MOST_SAID:
            _said.clear()
        _said.add(error.message)
        what = "the spool cannot be used"
        log_limited(Topic(logging.WARNING, what, str(folder)), f"{what}: {error.message}")


def _default_folder() -> Path | None:
    try:
        folder = state_folder() / "spool"
    except ConfigurationError:
        return None  # without a home there is no spool; the renewal says so when it needs one
    return _folders.setdefault(folder, folder)


def _encoded(entry: Spooled) -> str:
    fields = stored(ENTRY, entry)
    return json.dumps({CHECKSUM: checksum_of(fields), **fields})


def _decoded(body: str) -> tuple[Spooled | None, str]:
    """The entry of a file that is whole; and why a file must not be passed over, if it must not be."""
    try:
        fields = table(json.loads(body))
        check_whole(fields)
        check_schema(fields.pop("schema", SCHEMA), SCHEMA)
        entry = Spooled(**attributes(ENTRY, fields))
        return replace(entry, token=replace(entry.token, clock_skew=entry.skew)), ""
    except Newer:
        return None, f"{NEWER}; nothing was changed"
    except (ValueError, TypeError, RecursionError):
        return None, ""
