"""Paths into an answer, such as ``data.access_token``: where APIs put what RFC 6749 has at the top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from onerefresh.errors import ConfigurationError

__all__ = ["Path", "checked_path", "values_at"]

Path: TypeAlias = tuple[str, ...]
"""The names on the way into an answer; the empty path is the whole answer."""

ANY = "*"
WHOLE = "."
MOST_FOUND = 100
"""How many values a path with ``*`` may lead to."""


def checked_path(text: object, what: str) -> Path:
    """The path that `text` describes: names with dots between them, numbers for places in lists, ``*`` for any place.

    ``.`` is the whole answer. Raises `ConfigurationError`, which calls the path `what`.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} must be a path such as 'data.access_token', not {type(text).__name__}")
    if text == WHOLE:
        return ()
    parts = tuple(text.split("."))
    if not all(part and part.isprintable() and part == part.strip() for part in parts):
        raise ConfigurationError(
            f"{what} is not a path: {text!r}; write names with a dot between them, such as 'data.access_token'"
        )
    return parts


def values_at(answer: object, path: Path) -> list[object]:
    """The values to which `path` leads; none where the answer has no such place. A name may have dots of its own."""
    found: list[object] = []
    waiting: list[tuple[object, Path]] = [(answer, path)]
    while waiting and len(found) < MOST_FOUND:
        value, rest = waiting.pop()
        if not rest:
            found.append(value)
        elif isinstance(value, Mapping):
            waiting += reversed(_within_object(value, rest))
        elif isinstance(value, (list, tuple)):
            places = value[:MOST_FOUND] if rest[0] == ANY else _at(value, rest[0])
            waiting += [(one, rest[1:]) for one in reversed(places)]
    return found


def _within_object(value: Mapping[str, object], rest: Path) -> list[tuple[object, Path]]:
    for length in range(len(rest), 0, -1):
        if (name := ".".join(rest[:length])) in value:
            return [(value[name], rest[length:])]
    return [(one, rest[1:]) for one in list(value.values())[:MOST_FOUND]] if rest[0] == ANY else []


def _at(values: list[object] | tuple[object, ...], place: str) -> list[object]:
    is_place = place.isascii() and place.isdigit() and len(place) < 6
    return [values[int(place)]] if is_place and int(place) < len(values) else []
