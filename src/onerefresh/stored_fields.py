"""Tables of stored fields: which attribute is stored under which name, and how unknown fields are kept.

Whatever is stored has such a table. The rules are in docs/explanation/stored-text.md.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from onerefresh.stored_values import Damage, text

__all__ = ["NEWER", "Field", "Newer", "as_json", "attributes", "check_schema", "known_word", "stored"]

W = TypeVar("W", bound=enum.StrEnum)
LARGEST_SCHEMA = 10_000
NEWER = "it was written by a newer version of onerefresh: update onerefresh"
MOST_NESTED = 100
"""What is nested deeper, in a token's `extra` for example, is not kept: Python cannot write any depth as JSON."""


class Newer(Exception):
    """The text says something at which an older version must not guess."""


def check_schema(schema: object, newest: int) -> None:
    """Raise `Newer` for a schema that is newer than `newest`, and `Damage` for what is none."""
    if type(schema) is not int or not 0 < schema < LARGEST_SCHEMA:
        raise Damage("no schema")
    if schema > newest:
        raise Newer


def known_word(words: type[W], word: object) -> W:
    """The member of `words` for a stored word. Raises `Newer` for a word that another version may have.

    What to do about such a word cannot be guessed.
    """
    try:
        return words(text(word))
    except ValueError:
        if re.fullmatch("[a-z][a-z_]{0,39}", text(word)):
            raise Newer from None
        raise


class Field(NamedTuple):
    """One line of a table: an attribute, the name under which it is stored, and how it is read and written.

    * `read`: raises for a value of another type or range; then the text is damaged.
    * `needed`: a text without the field is damaged, too. Otherwise the attribute's default is used.
    * `otherwise`: stands for a word that this version does not know. The word itself is written back as it was.
    """

    attribute: str
    name: str
    read: Callable[[Any], object]
    needed: bool = False
    write: Callable[[Any], object] | None = None
    otherwise: object = None


def stored(lines: tuple[Field, ...], thing: Any) -> dict[str, object]:
    """The attributes of `thing` by their stored names, with what this version does not know of it."""
    fields = {}
    for field in lines:
        value = getattr(thing, field.attribute)
        fields[field.name] = value if field.write is None else field.write(value)
    for name, value in thing.unknown.items():
        fields[name] = as_json(value)
    return fields


def attributes(lines: tuple[Field, ...], fields: object) -> dict[str, Any]:
    """The keyword arguments that stored `fields` make; fields that `lines` does not name are the argument ``unknown``.

    Raises `Damage`, which names the field, and `Newer`.
    """
    if not isinstance(fields, dict):
        raise Damage("no JSON object")
    rest, found = dict(fields), {}
    for field in lines:
        if field.name not in rest:
            if field.needed:
                raise Damage(f"no {field.name}")
            continue
        value = rest.pop(field.name)
        try:
            found[field.attribute] = field.read(value)
            continue
        except Damage as damage:
            problem = f"{field.name}: {damage}"
        except (ValueError, TypeError, OverflowError):
            problem = f"{field.name} cannot have this value"
        if field.otherwise is None or not isinstance(value, str):
            raise Damage(problem)
        found[field.attribute], rest[field.name] = field.otherwise, value
    return {**found, "unknown": rest}


def as_json(value: object, depth: int = 0) -> object:
    """`value` as JSON. What JSON cannot hold is kept as text, rather than cost the token."""
    if depth > MOST_NESTED:
        return "…"
    if isinstance(value, Mapping):
        return {str(name): as_json(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(inner, depth + 1) for inner in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
