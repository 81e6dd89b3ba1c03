"""Queries and cookies as texts: a value of ours is put among those of the caller, replaced, and taken out again.

What is not ours keeps its spelling and its order, since servers differ in how they read queries, and some sign them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

__all__ = ["has_parameter", "with_cookies", "with_parameters", "without_parameters", "without_secrets"]

Pairs = Iterable[tuple[str, str]]

_ORIGIN: Final = re.compile(r"(?:[^/?#]*//[^/?#]*)?")
_ROUNDS: Final = 4
"""How often an escape is undone within another one, where the address of a redirect is searched for a token."""


def has_parameter(url: str, names: Iterable[str]) -> str | None:
    """The first of the names that the URL's query has as a parameter."""
    present = {_name(piece) for piece in _query(url).split("&") if piece}
    for name in names:
        if name in present:
            return name
    return None


def with_parameters(url: str, values: Pairs) -> str:
    """The URL with these parameters at the end of its query, in the place of others of the same names."""
    ours = dict(values)
    base, mark, fragment = url.partition("#")
    path, _, query = base.partition("?")
    kept = [piece for piece in query.split("&") if piece and _name(piece) not in ours]
    added = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in ours.items()]
    return f"{path}?{'&'.join([*kept, *added])}{mark}{fragment}"


def with_cookies(headers: Iterable[str], values: Pairs) -> str:
    """One ``Cookie`` header for these, with these cookies at its end, in the place of others of the same names."""
    ours = dict(values)
    cookies = [cookie.strip() for header in headers for cookie in header.split(";")]
    kept = [cookie for cookie in cookies if cookie and cookie.partition("=")[0].strip() not in ours]
    return "; ".join([*kept, *[f"{name}={value}" for name, value in ours.items()]])


def without_parameters(url: str, values: Pairs) -> str:
    """The URL without the parameters that have these names and values. A text without any comes back as it is."""
    ours = dict(values)
    base, mark, fragment = url.partition("#")
    path, _, query = base.partition("?")
    pieces = query.split("&")
    kept = [piece for piece in pieces if ours.get(_name(piece)) not in _spellings(piece.partition("=")[2])]
    if len(kept) == len(pieces):
        return url
    # An empty address would be none.
    return f"{path}{'?' if kept else ''}{'&'.join(kept)}{mark}{fragment}" or "?"


def without_secrets(url: str, secrets: Sequence[str]) -> str:
    """The URL without each parameter that shows a secret, and without a path and a fragment that do.

    It may be hidden in an address within the address, as in ``?next=``. A text without any comes back as it is.
    """
    if not _shows(url, secrets):
        return url
    base, mark, fragment = url.partition("#")
    path, _, query = base.partition("?")
    kept = [piece for piece in query.split("&") if piece and not _shows(piece, secrets)]
    if _shows(fragment, secrets):
        mark = fragment = ""
    if _shows(path, secrets):
        path = _ORIGIN.match(path)[0] + "/"  # type: ignore[index]  # it matches the empty text, too
    return f"{path}{'?' if kept else ''}{'&'.join(kept)}{mark}{fragment}" or "?"


def _query(url: str) -> str:
    return url.partition("#")[0].partition("?")[2]


def _name(piece: str) -> str:
    return unquote_plus(piece.partition("=")[0])


def _spellings(value: str) -> tuple[str, str]:
    return unquote(value), unquote_plus(value)


def _shows(text: str, values: Sequence[str]) -> bool:
    for _ in range(_ROUNDS):
        if any(value in text for value in values):
            return True
        text = unquote(text)
    return False
