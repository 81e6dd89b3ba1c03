"""The shape of an answer: where its fields are, and their usual names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from onerefresh.answers import KNOWN, claim_of, names_of
from onerefresh.bearer_field import ACCESS_TOKEN
from onerefresh.bodies import header
from onerefresh.endpoints.cookies import NAME, Cookies
from onerefresh.errors import ConfigurationError
from onerefresh.expiry import is_expiry, is_issue
from onerefresh.oauth2.codec import Fields
from onerefresh.oauth2.paths import Path, checked_path, values_at
from onerefresh.token import Token

__all__ = ["FIELDS", "Shape"]

FIELDS = (
    "access_token",
    "refresh_token",
    "expires_in",
    "expires_in_ms",
    "expires_at",
    "refresh_expires_in",
    "refresh_expires_in_ms",
    "refresh_expires_at",
    "scope",
    "token_type",
    "id_token",
)
"""Fields of an answer whose places may be named."""

_KEPT = "kept_secret."  # a name that hides the value in an answer's other fields
_SCHEME = re.compile(r"(?:bearer|jwt|token)\s+", re.IGNORECASE)
_GAP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN_GAPS = ("access_token", "refresh_token")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value is: ``kind`` is answer, cookie, header or claim (of the refresh token)."""

    kind: str
    path: Path

    @property
    def name(self) -> str:
        return self.path[0]

    def found_in(self, answer: object, cookies: Cookies, headers: Mapping[str, str]) -> object:
        """The value; None where there is none."""
        if self.kind == "cookie":
            return cookies.values.get(self.name)
        if self.kind == "header":
            value = header(headers, self.name.lower())
            return None if value is None else _SCHEME.sub("", value, count=1).strip() or None
        if self.kind == "claim":
            return None
        return next((value for value in values_at(answer, self.path) if value is not None), None)

    def is_in(self, answer: object) -> bool:
        """Whether the answer has this place, with whatever value."""
        return self.kind == "answer" and bool(values_at(answer, self.path))


class Shape:
    """Where an answer has its fields, and what else of it the next request needs.

    Raises `ConfigurationError` for places that cannot be meant.
    """

    def __init__(self, fields: object, keep: object) -> None:
        self._fields = _places(fields, "fields")
        self._keep = _places(keep, "keep")
        for name in self._fields:
            if name not in FIELDS:
                raise ConfigurationError(f"fields has an unknown field {name!r}: use some of {', '.join(FIELDS)}")
            if self._fields[name].kind == "claim":
                raise ConfigurationError(f"fields[{name!r}] cannot be a claim of the refresh token")
        for name in self._keep:
            if not _GAP_NAME.fullmatch(name) or name in _OWN_GAPS:
                raise ConfigurationError(f"keep has a name that cannot stand in braces: {name!r}")
        for name in ("expires_in", "refresh_expires_in"):
            if {name, f"{name}_ms"} <= set(self._fields):
                raise ConfigurationError(f"fields has both {name} and {name}_ms: leave one of them out")
        self._cookies: dict[str, str] = {}

    @property
    def settings(self) -> tuple[object, ...]:
        """What tells this shape from others."""
        places = [*sorted(self._fields.items()), *sorted(self._keep.items())]
        return tuple(f"{name}={place.kind}:{'.'.join(place.path)}" for name, place in places)

    @property
    def kept_names(self) -> tuple[str, ...]:
        """The names of what is kept for the next request."""
        return tuple(self._keep)

    def comes_as(self, name: str, cookie: str) -> None:
        """Note that the token `name` is sent as this cookie: an answer brings the next one in the same way."""
        if name not in self._fields:
            self._cookies[name] = cookie

    def deleted_in(self, name: str, cookies: Cookies) -> str | None:
        """The cookie that holds the token `name`, if the answer deletes it; else None."""
        cookie = self._cookie_of(name)
        return cookie if cookie in cookies.deleted else None

    def both_in(self, cookies: Cookies) -> bool:
        """Whether both tokens have come as cookies."""
        return all(self._cookie_of(name) in cookies.values for name in _OWN_GAPS)

    def _cookie_of(self, name: str) -> str | None:
        """The cookie in which an answer brings the token `name`; None where it comes in another way."""
        place = self._fields.get(name)
        return place.name if place is not None and place.kind == "cookie" else self._cookies.get(name)

    def translated(self, answer: object, cookies: Cookies, headers: Mapping[str, str]) -> Fields:
        """The answer's fields under their usual names, as `parse_answer` knows them, with what is kept."""
        named, others = Fields(), Fields(self._around_the_token(answer))
        for name, place in self._fields.items():
            value = place.found_in(answer, cookies, headers)
            for other in (*names_of(name), name.removesuffix("_ms")):
                others.pop(other, None)
            if value is not None:
                named[name] = str(value) if name in _OWN_GAPS and _is_whole(value) else value
            elif name == ACCESS_TOKEN and place.is_in(answer):
                named[name] = None  # so that this is a token answer, whose refresh token is kept
        for name, cookie in self._cookies.items():
            if cookie in cookies.values:
                named[name] = cookies.values[cookie]
        for name, place in self._keep.items():
            value = place.found_in(answer, cookies, headers)
            if isinstance(value, str) or _is_whole(value):
                named[_KEPT + name] = str(value)
        return Fields(named | {name: value for name, value in others.items() if name not in named})  # the first counts

    def has_token(self, answer: object) -> bool:
        """Whether the answer has an access token at the place that was named for it."""
        place = self._fields.get("access_token")
        return place is None or place.found_in(answer, Cookies(), {}) is not None

    def kept_in(self, token: Token) -> dict[str, str]:
        """What was kept with a token, by name; without what is missing."""
        found = {}
        for name, place in self._keep.items():
            value: object = token.extra.get(_KEPT + name, token.extra.get(name))
            if place.kind == "claim" and token.refresh_token is not None:
                value = claim_of(token.refresh_token.reveal(), place.name)
            if isinstance(value, str) or _is_whole(value):
                found[name] = str(value)
        return found

    def _around_the_token(self, answer: object) -> dict[str, object]:
        """The object that holds the access token, without what other names are given to."""
        place = self._fields.get("access_token")
        above: Path = place.path[:-1] if place is not None and place.kind == "answer" else ()
        inner = next(iter(values_at(answer, above)), None)
        found = {str(name): value for name, value in inner.items()} if isinstance(inner, Mapping) else {}
        if above and isinstance(answer, Mapping):
            found = {
                name: value for name, value in answer.items() if _is_usual(str(name)) and name not in found
            } | found
        for named in self._fields.values():
            if named.kind == "answer" and named.path[:-1] == above and named.path:
                found.pop(named.path[-1], None)
        return found


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_usual(name: str) -> bool:
    """Whether a field of this name is one of every token answer, wherever it stands."""
    return name in KNOWN or is_expiry(name) or is_issue(name)


def _places(given: object, what: str) -> dict[str, _Place]:
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{what} must be a mapping such as {{'access_token': 'data.access_token'}}, not {type(given).__name__}"
        )
    return {str(name): _place(place, f"{what}[{name!r}]") for name, place in given.items()}


def _place(text: object, what: str) -> _Place:
    kind, colon, name = text.partition(":") if isinstance(text, str) else ("", "", "")
    if colon and kind in ("cookie", "header", "claim"):
        if not NAME.fullmatch(name):
            raise ConfigurationError(f"{what}: {name!r} is not the name of a {kind}")
        return _Place(kind, (name,))
    return _Place("answer", checked_path(text, what))
