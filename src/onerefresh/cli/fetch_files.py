"""Where the bodies go: into files with safe and distinct names, complete or not at all; or to standard output."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self
from urllib.parse import unquote, urlsplit

from onerefresh.cli.output import OutputFailed, Shown, write_body
from onerefresh.errors import ConfigurationError

__all__ = ["BoundedBody", "FileBody", "PrintedBody", "file_names", "make_folder"]

LONGEST_NAME = 120
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")  # devices on Windows, with any suffix


class BoundedBody(Protocol):
    """Takes a body piece by piece."""

    def write(self, chunk: bytes) -> None:
        """Take a piece. Raises `OutputFailed`."""


class PrintedBody:
    """A body on standard output: unchanged, except on a terminal, which would obey some of its bytes."""

    def __init__(self) -> None:
        self._shown = Shown() if sys.stdout.isatty() else None

    def write(self, chunk: bytes) -> None:
        write_body(chunk, self._shown)


class FileBody:
    """A body in a file, which gets its name only when the body is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".onerefresh-{secrets.token_hex(8)}.part")
        self._file: BinaryIO | None = None

    def write(self, chunk: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(chunk)
        except OSError as error:
            raise self._failed(error) from None

    def __enter__(self) -> Self:
        try:
            self._file = self._part.open("xb")
        except OSError as error:
            raise self._failed(error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._file is not None
        try:
            self._file.close()
            if kind is None:
                self._part.replace(self._path)
        except OSError as problem:
            raise self._failed(problem) from None
        finally:
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> OutputFailed:
        return OutputFailed(f"{self._path} cannot be written: {error.strerror}")


def make_folder(folder: Path) -> None:
    """Make the folder. Raises `ConfigurationError` for a folder that cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--output {folder}: {error.strerror}; use another folder") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"--output {folder} cannot be written: use another folder")


def file_names(urls: Iterable[str]) -> list[str]:
    """A file name for each URL: always the same for the same URLs, and distinct even where case does not count.

    It is made of the path and the query: ``/items/7?page=2`` gives ``items_7_page=2``, and ``…-2`` the second time.
    """
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    names = []
    for url in urls:
        plain = name = _safe(url)
        while name.casefold() in taken:
            seen[plain.casefold()] += 1
            stem, dot, suffix = plain.rpartition(".")
            number = seen[plain.casefold()] + 1
            name = f"{stem}-{number}{dot}{suffix}" if stem else f"{plain}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _safe(url: str) -> str:
    parts = urlsplit(url)
    text = unquote(parts.path).strip("/") + (f"_{unquote(parts.query)}" if parts.query else "")
    name = re.sub(r"[^A-Za-z0-9._=+,@-]+", "_", text).strip("._-")[:LONGEST_NAME].rstrip(".") or "index"
    return f"_{name}" if _RESERVED.match(name) else name
