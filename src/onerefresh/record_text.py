"""The text form of a record: which attribute is stored under which name, and how unknown fields are kept.

Several versions of this library work on one store at the same time. So a field that this version does not know is kept
with its object and written back, and a stored name keeps its meaning for good. The rules are in
docs/explanation/stored-text.md, and the texts that each version must read in tests/golden.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from onerefresh.damping import RefusedTarget, Targets
from onerefresh.errors import StoreUnavailable
from onerefresh.failure import Failure
from onerefresh.policy import FOR_GOOD
from onerefresh.record import Entry, Grant, Lease, Probation, Record, State, TokenClock
from onerefresh.refresh_rate import Floor
from onerefresh.secret import Secret
from onerefresh.store import ENCRYPTED, Unreadable, is_sealed
from onerefresh.stored_fields import NEWER, Field, Newer, as_json, attributes, check_schema, known_word, stored
from onerefresh.stored_values import (
    CHECKSUM,
    Damage,
    check_whole,
    checksum_of,
    count,
    counted,
    generation,
    moment,
    moment_of_token,
    number,
    numbers,
    span,
    table,
    text,
    text_or_none,
    texts,
    truth,
)
from onerefresh.token import Token
from onerefresh.verdict import FailureKind

__all__ = ["decode", "encode", "token_from_fields", "token_to_fields"]

SCHEMA = 1


def _word(member: Any) -> object:
    return member.value


def _state(word: object) -> State:
    return known_word(State, word)


def _inner(make: Callable[..., Any], lines: tuple[Field, ...]) -> Callable[[Any], object]:
    return lambda fields: None if fields is None else make(**attributes(lines, fields))


def _object(lines: tuple[Field, ...]) -> Callable[[Any], object]:
    return lambda thing: None if thing is None else stored(lines, thing)


def _entry_text(entry: Entry) -> list[object]:
    return [entry.generation, entry.at, entry.what, *map(as_json, entry.more)]


def _entry(elements: object) -> Entry:
    if not isinstance(elements, list):
        raise TypeError
    generation, at, what, *more = elements
    return Entry(count(generation), moment(at), text(what), tuple(more))


def _history_text(history: tuple[Entry, ...]) -> object:
    return [_entry_text(entry) for entry in history]


def _history(entries: object) -> tuple[Entry, ...]:
    if not isinstance(entries, list):
        raise TypeError
    return tuple(_entry(entry) for entry in entries)


def _refused_text(refused: tuple[RefusedTarget, ...]) -> object:
    return [[one.target, _finite(one.at), _within_reason(one.delay)] for one in refused]


def _refused(entries: object) -> tuple[RefusedTarget, ...]:
    if not isinstance(entries, list):
        raise TypeError
    return tuple([_refused_target(entry) for entry in entries])


def _refused_target(elements: object) -> RefusedTarget:
    if not isinstance(elements, list):
        raise TypeError
    target, at, delay = elements
    return RefusedTarget(text(target), number(at), span(delay))


def _secret_text(secret: Secret | None) -> object:
    return secret.reveal() if secret else None


def _secret(found: object) -> Secret | None:
    return Secret(text(found)) if found is not None else None


def _access(found: object) -> Secret:
    if not isinstance(found, str) or not found:
        raise TypeError
    return Secret(found)


def _expiry(value: object) -> float | None:
    return None if value is None else moment_of_token(value)


# A user's refresher, store or setting may state anything, which must not make the record unreadable.


def _as_text(value: object) -> object:
    return value if value is None or isinstance(value, str) else str(value)


def _finite(moment: float) -> float:
    return moment if math.isfinite(moment) else 0.0


def _within_reason(seconds: float) -> float:
    return min(max(seconds, 0.0), FOR_GOOD)


# A stored name is never given another meaning, and never removed. A name that is added later has a default.
LEASE = (
    Field("id", "id", text, needed=True),
    # A grant that is not known here may spend the refresh token, so it counts as a refresh.
    Field("grant", "grant", Grant, needed=True, write=_word, otherwise=Grant.REFRESH),
    Field("ttl", "ttl", span, needed=True, write=_within_reason),
    Field("clock_epoch", "era", text_or_none, write=_as_text),
    Field("at", "at", number, write=_finite),
    Field("death_proof", "proof", text_or_none, write=_as_text),
    Field("contested", "disputed", truth),
    Field("origin", "origin", _state, needed=True, write=_word),
    Field("guess", "guess", truth),
    Field("noted", "noted", text),
    Field("again", "again", count, write=counted),
)
FAILURE = (
    # A kind that is not known here must not log anybody out: after its delay the server is asked again.
    Field("kind", "meaning", FailureKind, needed=True, write=_word, otherwise=FailureKind.UNAVAILABLE),
    Field("detail", "detail", text, needed=True, write=_as_text),
    Field("count", "count", count, needed=True, write=counted),
    Field("at", "at", moment, needed=True),
    Field("delay", "delay", span, needed=True, write=_within_reason),
    Field("maybe_spent", "ambiguous", truth),
    Field("contested", "disputed", truth),
    Field("refused", "refused", truth),
    Field("challenge", "challenge", text_or_none, write=_as_text),
    Field("doubts", "doubts", count, write=counted),
    Field("prints", "prints", texts, write=list),
    Field("lost", "lost", truth),
    Field("clock_epoch", "era", text_or_none, write=_as_text),
    Field("clock_at", "clock", number, write=_finite),
)
PROBATION = (
    Field("refusals", "refusals", count, needed=True, write=counted),
    Field("at", "at", moment, needed=True),
    Field("delay", "delay", span, needed=True),
    Field("by_refusal", "by_refusal", truth, needed=True),
    Field("reported", "reported", truth),
    Field("repeated", "repeated", truth),
    Field("clock_epoch", "era", text_or_none, write=_as_text),
    Field("clock_at", "clock", number, write=_finite),
)
TOKEN = (
    Field("access_token", "access_token", _access, needed=True, write=_secret_text),
    Field("refresh_token", "refresh_token", _secret, needed=True, write=_secret_text),
    Field("expires_at", "expires_at", _expiry),
    Field("issued_at", "issued_at", moment_of_token),
    Field("refresh_expires_at", "refresh_expires_at", _expiry),
    Field("refresh_end_moves", "refresh_end_moves", truth),
    Field("scope", "scope", text_or_none),
    Field("extra", "extra", table, write=as_json),
    Field("generation", "generation", generation),
    Field("family", "family", text),
)
FLOOR = (
    Field("generation", "generation", generation, needed=True),
    Field("at", "at", number, needed=True, write=_finite),
    Field("clock_epoch", "era", text_or_none, write=_as_text),
    Field("early", "early", numbers, write=lambda moments: list(map(_finite, moments))),
)
TARGETS = (
    Field("family", "family", text, needed=True),
    Field("clock_epoch", "era", text_or_none, write=_as_text),
    Field("refused", "refused", _refused, write=_refused_text),
    Field("generation", "generation", generation),
    Field("count", "count", count, write=counted),
    Field("at", "at", number, write=_finite),
)
TOKEN_CLOCK = (
    Field("generation", "generation", generation, needed=True),
    Field("machine", "machine", text, needed=True),
    Field("skew", "skew", number, needed=True, write=_finite),
    Field("clock_epoch", "era", text_or_none, write=_as_text),
    Field("ahead", "ahead", number, write=_finite),
)
RECORD = (
    Field("families", "families", texts, needed=True, write=list),
    Field("generation", "generation", generation, needed=True),
    Field("state", "state", _state, needed=True, write=_word),
    Field("lease", "attempt", _inner(Lease, LEASE), needed=True, write=_object(LEASE)),
    Field("failure", "failure", _inner(Failure, FAILURE), needed=True, write=_object(FAILURE)),
    Field("probation", "probation", _inner(Probation, PROBATION), needed=True, write=_object(PROBATION)),
    Field("committed_by", "by", text_or_none),
    Field("owner", "owner", text_or_none),
    Field("unsaved", "unsaved", truth),
    Field("history", "history", _history, needed=True, write=_history_text),
    Field("floor", "floor", _inner(Floor, FLOOR), write=_object(FLOOR)),
    Field("spent", "spent", texts, write=list),
    Field("targets", "targets", _inner(Targets, TARGETS), write=_object(TARGETS)),
    Field("token_clock", "clock", _inner(TokenClock, TOKEN_CLOCK), write=_object(TOKEN_CLOCK)),
    Field("token", "token", _inner(Token, TOKEN), needed=True, write=_object(TOKEN)),
)


def encode(record: Record) -> str:
    """The record as JSON text. It holds the tokens in clear, so a store has to keep it private."""
    fields = stored(RECORD, record)
    token = fields.pop("token")  # the token is last: Redis logs the first 128 bytes of a slow command's argument
    whole = {**fields, CHECKSUM: "", "schema": SCHEMA, "token": token}
    whole[CHECKSUM] = checksum_of(whole)
    return json.dumps(whole, separators=(",", ":"))


def token_to_fields(token: Token) -> dict[str, object]:
    """A token as fields for JSON, with its secrets in clear."""
    return stored(TOKEN, token)


def token_from_fields(fields: object) -> Token:
    """The token that `token_to_fields` wrote. Raises `Damage` where it is damaged."""
    return Token(**attributes(TOKEN, fields))


def decode(body: object, key: str) -> Record:
    """The record that `encode` wrote, in this version or another one.

    Raises `Unreadable` where only another key or a newer version reads the text, and `StoreUnavailable` where it is
    damaged. The stored text stays as it is.
    """
    if isinstance(body, str) and is_sealed(body):  # a user's store may return anything
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


def _decoded(body: object) -> tuple[Record | None, str]:
    """The record, or None and why it cannot be read."""
    try:
        fields = table(json.loads(text(body)))
        check_whole(fields)  # before the schema: a flipped byte may make the schema look newer
        check_schema(fields.pop("schema", None), SCHEMA)
        record = Record(**attributes(RECORD, fields))
        if record.token is not None and not record.families:
            raise Damage("a token without a family")
        return record, ""
    except Newer:
        return None, NEWER
    except Damage as damage:
        return None, f"it is damaged: {damage}"
    except (ValueError, TypeError, RecursionError) as error:
        return None, f"it is damaged: {type(error).__name__}"
