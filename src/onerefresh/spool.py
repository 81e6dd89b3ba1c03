"""The spool: where a new token waits on this host while its store is down.

One file a credential, 0600 in a 0700 folder, written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path

from onerefresh.errors import OnerefreshError
from onerefresh.record import Grant
from onerefresh.renewal.effects import Spooled
from onerefresh.store import token_from_fields, token_to_fields

__all__ = ["Spool", "state_folder"]


def state_folder() -> Path:
    """The platform's folder for a program's state, of onerefresh: not made here.

    ``$ONEREFRESH_STATE``, else ``$XDG_STATE_HOME/onerefresh`` (``~/.local/state``), on macOS
    ``~/Library/Application Support/onerefresh``, on Windows ``%LOCALAPPDATA%\\onerefresh``.
    """
    import sys

    chosen = os.environ.get("ONEREFRESH_STATE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        given = os.environ.get("XDG_STATE_HOME", "")
        base = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return base / "onerefresh"


class Spool:
    """The spool file of one credential in one store. None of its methods raises for what the disk does."""

    def __init__(self, store_name: str, key: str, folder: Path | None = None) -> None:
        digest = hashlib.sha256(f"{store_name}\0{key}".encode()).hexdigest()[:32]
        self.path = (folder or state_folder() / "spool") / f"{digest}.json"

    def read(self) -> Spooled | None:
        """What is spooled; None where there is nothing, or nothing that can be read."""
        try:
            text = self.path.read_text("utf-8")
        except OSError:
            return None
        try:
            return _decoded(text)
        finally:
            del text

    def write(self, entry: Spooled) -> bool:
        """Keep `entry`, durably; whether that worked."""
        part = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(_encoded(entry))
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(self.path)
            except OSError:
                part.unlink(missing_ok=True)
                return False
            _sync_folder(self.path.parent)
        except OSError:
            return False
        return True

    def drop(self, entry: Spooled) -> None:
        """Delete the file if it still holds `entry`'s attempt."""
        present = self.read()
        if present is None or present.attempt == entry.attempt:
            try:
                self.path.unlink(missing_ok=True)
            except OSError:
                return  # it is looked at again by the next renewal, and found to be old


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # a folder cannot be opened there
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encoded(entry: Spooled) -> str:
    return json.dumps(
        {
            "family": entry.family,
            "generation": entry.generation,
            "attempt": entry.attempt,
            "grant": entry.grant.value,
            "refused": entry.refused,
            "token": token_to_fields(entry.token),
        }
    )


def _decoded(text: str) -> Spooled | None:
    try:
        fields = json.loads(text)
        return Spooled(
            family=str(fields["family"]),
            generation=int(fields["generation"]),
            attempt=str(fields["attempt"]),
            grant=Grant(fields["grant"]),
            refused=bool(fields["refused"]),
            token=token_from_fields(fields["token"]),
        )
    except (ValueError, KeyError, TypeError, OnerefreshError):
        return None
