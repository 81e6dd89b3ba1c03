"""The text form of a record: which attribute is stored under which name, and what is done with the rest.

Several versions of this library work on one store at the same time. So what a text holds that this version does not
know is kept with its object and written back, and a stored name keeps its meaning for good. The rules are in
docs/explanation/stored-text.md, and the texts that each version must read in tests/golden.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onerefresh.answers import as_seconds
from onerefresh.errors import OnerefreshError, StoreUnavailable
from onerefresh.record import Attempt, Entry, Failure, Floor, Grant, Probation, Record, State
from onerefresh.store import ENCRYPTED, Unreadable, is_sealed
from onerefresh.token import Secret, Token
from onerefresh.verdict import Meaning

__all__ = [
    "CHECKSUM",
    "NEWER",
    "SCHEMA",
    "Field",
    "Newer",
    "attributes",
    "check_schema",
    "decode",
    "encode",
    "stored",
    "token_from_fields",
    "token_to_fields",
]

SCHEMA = 1
CHECKSUM = "checksum"
"""It would speak of the text that a newer version wrote, and not of what is written back: so nobody keeps it."""
NEWER = "it was written by a newer version of onerefresh: update onerefresh"
MOST_NESTED = 100
"""What is nested deeper, in a token's `extra` say, is not kept: Python cannot write any depth as JSON."""


class Newer(Exception):
    """The text says something that an older version must not guess at."""


def check_schema(schema: object, newest: int) -> None:
    """Raise `Newer` for a schema that is newer than `newest`, and ValueError for what is none."""
    if type(schema) is not int or schema < 1:
        raise ValueError("no schema")
    if schema > newest:
        raise Newer


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a table: the attribute, the name under which it is stored, and how it is written and read.

    `needed`: a text without it is damaged; else the attribute's default stands in. `otherwise`: how a word is taken
    that this version does not know. It is written back as it was.
    """

    attribute: str
    name: str
    needed: bool = False
    write: Callable[[Any], object] | None = None
    read: Callable[[Any], object] | None = None
    otherwise: object = None


def stored(table: tuple[Field, ...], thing: Any) -> dict[str, object]:
    """The attributes of `thing` by their stored names, and what it has that this version does not know."""
    fields = {}
    for field in table:
        value = getattr(thing, field.attribute)
        fields[field.name] = value if field.write is None else field.write(value)
    for name, value in thing.unknown.items():
        fields[name] = _plain(value)
    return fields


def attributes(table: tuple[Field, ...], fields: object) -> dict[str, Any]:
    """What `stored` was given, as arguments; what `table` does not name is the argument ``unknown``.

    Raises ValueError, KeyError or TypeError for what is damaged, and `Newer`.
    """
    if not isinstance(fields, dict):
        raise TypeError("no JSON object")
    rest, found = dict(fields), {}
    for field in table:
        if field.name not in rest:
            if field.needed:
                raise KeyError(field.name)
            continue
        value = rest.pop(field.name)
        try:
            found[field.attribute] = value if field.read is None else field.read(value)
        except ValueError:
            if field.otherwise is None or not isinstance(value, str):
                raise
            found[field.attribute], rest[field.name] = field.otherwise, value
    return {**found, "unknown": rest}


def _word(member: Any) -> object:
    return member.value


def _state(word: str) -> State:
    """What may be done in a state that is not known here cannot be guessed."""
    try:
        return State(word)
    except ValueError:
        if isinstance(word, str):
            raise Newer from None
        raise


def _attempt(fields: object) -> Attempt | None:
    return Attempt(**attributes(ATTEMPT, fields)) if fields else None


def _failure(fields: object) -> Failure | None:
    return Failure(**attributes(FAILURE, fields)) if fields else None


def _probation(fields: object) -> Probation | None:
    return Probation(**attributes(PROBATION, fields)) if fields else None


def _floor(fields: object) -> Floor | None:
    return Floor(**attributes(FLOOR, fields)) if fields else None


def _seconds(value: object) -> float:
    found = as_seconds(value)
    if found is None:
        raise ValueError("no moment")
    return found


def _moments(values: list[object]) -> tuple[float, ...]:
    return tuple(map(_seconds, values))


def _object(table: tuple[Field, ...]) -> Callable[[Any], object]:
    return lambda thing: None if thing is None else stored(table, thing)


def _entry_text(entry: Entry) -> list[object]:
    return [entry.generation, entry.at, entry.what, *map(_plain, entry.more)]


def _entry(elements: list[Any]) -> Entry:
    generation, at, what, *more = elements
    return Entry(generation, at, what, tuple(more))


def _history_text(history: tuple[Entry, ...]) -> object:
    return [_entry_text(entry) for entry in history]


def _history(entries: list[Any]) -> tuple[Entry, ...]:
    return tuple(_entry(entry) for entry in entries)


def _secret_text(secret: Secret | None) -> object:
    return secret.reveal() if secret else None


def _secret(text: object) -> Secret | None:
    return Secret(str(text)) if text else None


def _token_text(token: Token | None) -> object:
    return token_to_fields(token) if token else None


def _token(fields: Any) -> Token | None:
    return token_from_fields(fields) if fields else None


def _plain(value: object, depth: int = 0) -> object:
    """`value` as JSON: what JSON cannot hold is kept as text rather than costing the token."""
    if depth > MOST_NESTED:
        return "…"
    if isinstance(value, Mapping):
        return {str(name): _plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner, depth + 1) for inner in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


# A stored name is never given another meaning, and never taken away; what is added later has a default.
ATTEMPT = (
    Field("id", "id", needed=True),
    # Whatever it spends, the refresh token may be among it: so nobody takes it for harmless.
    Field("grant", "grant", needed=True, write=_word, read=Grant, otherwise=Grant.REFRESH),
    Field("ttl", "ttl", needed=True),
    Field("era", "era"),
    Field("at", "at"),
    Field("proof", "proof"),
    Field("disputed", "disputed"),
    Field("origin", "origin", needed=True, write=_word, read=_state),
    Field("guess", "guess"),
)
FAILURE = (
    # Its delay is kept to, and then it is asked again: no word that is not known here logs anybody out.
    Field("meaning", "meaning", needed=True, write=_word, read=Meaning, otherwise=Meaning.UNAVAILABLE),
    Field("detail", "detail", needed=True),
    Field("count", "count", needed=True),
    Field("at", "at", needed=True),
    Field("delay", "delay", needed=True),
    Field("ambiguous", "ambiguous"),
    Field("disputed", "disputed"),
    Field("refused", "refused"),
    Field("challenge", "challenge"),
    Field("doubts", "doubts"),
    Field("prints", "prints", write=list, read=tuple),
    Field("lost", "lost"),
)
PROBATION = (
    Field("refusals", "refusals", needed=True),
    Field("at", "at", needed=True),
    Field("delay", "delay", needed=True),
    Field("by_refusal", "by_refusal", needed=True),
    Field("reported", "reported"),
    Field("repeated", "repeated"),
)
TOKEN = (
    Field("access_token", "access_token", needed=True, write=_secret_text, read=_secret),
    Field("refresh_token", "refresh_token", needed=True, write=_secret_text, read=_secret),
    Field("expires_at", "expires_at"),
    Field("issued_at", "issued_at"),
    Field("scope", "scope"),
    Field("extra", "extra", write=_plain),
    Field("generation", "generation"),
    Field("family", "family"),
)
FLOOR = (
    Field("generation", "generation", needed=True),
    Field("at", "at", needed=True, read=_seconds),
    Field("era", "era"),
    Field("early", "early", write=list, read=_moments),
)
RECORD = (
    Field("families", "families", needed=True, write=list, read=tuple),
    Field("generation", "generation", needed=True),
    Field("state", "state", needed=True, write=_word, read=_state),
    Field("attempt", "attempt", needed=True, write=_object(ATTEMPT), read=_attempt),
    Field("failure", "failure", needed=True, write=_object(FAILURE), read=_failure),
    Field("probation", "probation", needed=True, write=_object(PROBATION), read=_probation),
    Field("by", "by"),
    Field("owner", "owner"),
    Field("unsaved", "unsaved"),
    Field("history", "history", needed=True, write=_history_text, read=_history),
    Field("floor", "floor", write=_object(FLOOR), read=_floor),
    Field("token", "token", needed=True, write=_token_text, read=_token),
)


def encode(record: Record) -> str:
    """The record as JSON text. It holds the tokens as they are: a store keeps it private."""
    fields = stored(RECORD, record)
    token = fields.pop("token")  # it comes last: Redis logs the first 128 bytes of a slow command's argument
    return json.dumps({**fields, "schema": SCHEMA, "token": token}, separators=(",", ":"))


def token_to_fields(token: Token) -> dict[str, object]:
    """A token as JSON-able fields, secrets and all."""
    return stored(TOKEN, token)


def token_from_fields(fields: object) -> Token:
    """What `token_to_fields` wrote. Raises as `attributes`, or an `OnerefreshError`, where it is damaged."""
    return Token(**attributes(TOKEN, fields))


def decode(body: str, key: str) -> Record:
    """The record that `encode` wrote, in this version or another one.

    Raises `Unreadable` where only another key or a newer version reads the text, and `StoreUnavailable` where it is
    damaged; it is left as it is.
    """
    if is_sealed(body):
        raise Unreadable(f"the stored record cannot be read: {ENCRYPTED}", credential=key)
    try:
        record, problem = _decoded(body)
    finally:
        del body  # it holds tokens, and would show in a traceback with locals
    if record is not None:
        return record
    if problem == NEWER:
        raise Unreadable(f"the stored record cannot be read: {NEWER}; nothing was changed", credential=key)
    raise StoreUnavailable(f"the stored record cannot be read ({problem}); log in again to replace it", credential=key)


def _decoded(body: str) -> tuple[Record | None, str]:
    try:
        fields = json.loads(body)
        check_schema(fields.pop("schema"), SCHEMA)
        fields.pop(CHECKSUM, None)
        return Record(**attributes(RECORD, fields)), ""
    except Newer:
        return None, NEWER
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OnerefreshError) as error:
        return None, f"it is damaged: {type(error).__name__}"
