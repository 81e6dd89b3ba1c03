"""How the API of a test server wants the token: as the ``attach=`` of a client writes it, and in no other way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from onerefresh.clients.attach import Part, parts_of
from onerefresh.errors import OnerefreshError
from onerefresh.testing.http import Request
from onerefresh.token import Token

__all__ = ["BEARER", "Doubled", "Wanted"]

BEARER = "Bearer {token}"


class Doubled(Exception):
    """A request has two values in one place, which no client may send."""


class Wanted:
    """Finds the token of a request. Raises `ValueError` for an `attach` that no text can be compared with.

    * `attach`: a template for the header ``Authorization``, or a mapping from places to templates.
    * `extra`: the further fields of all token answers, which templates may name.
    """

    def __init__(self, attach: str | Mapping[str, str], extra: Mapping[str, object]) -> None:
        try:
            parts = parts_of(attach, "Authorization")
            self._parts = tuple([(part, _pattern(part, extra)) for part in parts])
        except OnerefreshError as error:
            raise ValueError(error.message) from None
        self._is_bearer = attach == BEARER

    def token_in(self, request: Request) -> str | None:
        """The token that the request brings; None where a place has none, or where two have different ones.

        Raises `Doubled` where a place has several values.
        """
        found: set[str | None] = set()
        for part, pattern in self._parts:
            values = _values(part, request)
            if len(values) > 1:
                raise Doubled
            if self._is_bearer:
                found.add(_of_bearer(values))
                continue
            match = pattern.fullmatch(values[0]) if values else None
            if match is None:
                return None
            found.update(match.groups())
        return found.pop() if len(found) == 1 else None


def _of_bearer(values: list[str]) -> str | None:
    """The token of RFC 6750, whose scheme is written in any case."""
    scheme, _, token = (values[0] if values else "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _pattern(part: Part, extra: Mapping[str, object]) -> re.Pattern[str]:
    if not isinstance(part.value, tuple):
        raise ValueError("the server compares texts: give templates, not functions")
    known = Token("token", extra=extra)
    written = [
        "(.+)" if is_field and piece == "token" else re.escape(part.read(known, piece) if is_field else piece)
        for is_field, piece in part.value
    ]
    return re.compile("".join(written))


def _values(part: Part, request: Request) -> list[str]:
    if part.place == "header":
        return request.headers.get(part.name.lower(), [])
    if part.place == "query":
        pairs = parse_qsl(request.query_string, keep_blank_values=True)
    else:
        cookies = [cookie for header in request.headers.get("cookie", []) for cookie in header.split(";")]
        pairs = [(name.strip(), value) for name, _, value in [cookie.partition("=") for cookie in cookies]]
    return [value for name, value in pairs if name == part.name]
