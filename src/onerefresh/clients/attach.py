"""``attach=``: where a token goes in a request, and how it is written there.

Most APIs want ``Authorization: Bearer …``. Others want another word, quotes, a header or a query parameter of their
own, a cookie, or two of these. A template says so, or a function of the user's; both are checked when they are given.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from onerefresh.answers import unsendable
from onerefresh.clients.challenge import TOKEN
from onerefresh.errors import ConfigurationError, RefreshProtocolError
from onerefresh.loops import is_async
from onerefresh.redaction import PART
from onerefresh.token import Token

__all__ = ["Attach", "Part", "checked_header", "parts_of", "scheme_of"]

Value: TypeAlias = str | Callable[[Token], str]
Attach: TypeAlias = Value | Mapping[str, Value]
"""What ``attach=`` may be.

* A template: the value of the header, with ``{token}`` in it, such as ``'Snowflake Token="{token}"'``. ``{extra.NAME}``
  is another field of the token answer, or ``{extra.NAME.INNER}`` one within it; ``{{`` and ``}}`` are braces.
* A function that takes the `Token` and returns the value. It is called once for each token, and must not block.
* A mapping from places to these: ``"X-Api-Key"`` is a header, ``"?key"`` a parameter of the query, ``"cookie:session"``
  a cookie.
"""

Place: TypeAlias = Literal["header", "query", "cookie"]

_RESERVED_HEADERS: Final = frozenset(
    {"connection", "content-length", "content-type", "cookie", "host", "proxy-authorization", "transfer-encoding"}
)
_PIECE: Final = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")
_SHOWN: Final = re.compile(r"\{[a-z_.]{0,30}(?:![a-z]|:[<>^0-9.]*)?\}")
_LOOKS_LIKE_A_PLACE: Final = re.compile(r"\?|[A-Za-z][A-Za-z0-9-]*:")
_COOKIE: Final = re.compile(r"(?i)cookie:[ ]*(.*)")
_COOKIE_VALUE: Final = re.compile(r'"[!#-+\--:<-\[\]-~]+"|[!#-+\--:<-\[\]-~]+')  # RFC 6265 section 4.1.1
_PARAMETER: Final = re.compile(r"[^\s\x00-\x20\x7f&=#?]+")
_WRITE: Final = "write attach={'X-Api-Key': '{token}'}, {'?key': '{token}'} or {'cookie:session': '{token}'}"


@dataclass(frozen=True, slots=True)
class Part:
    """One place of a request, and what is written there. `name`: of the header, parameter or cookie."""

    place: Place
    name: str
    value: Value | tuple[tuple[bool, str], ...] = field(repr=False)
    """A function; or the pieces of a template, of which those with True name a field of the token."""

    @property
    def is_fixed(self) -> bool:
        """Whether the text is the same for every token."""
        return isinstance(self.value, tuple) and not any(is_field for is_field, _ in self.value)

    def write(self, token: Token) -> str:
        """The text for `token`, before it is encoded for its place.

        Raises `RefreshProtocolError` where the token has no such field, or where the place cannot carry the text;
        `ConfigurationError` where the function returns no text; and what the function raises.
        """
        if isinstance(self.value, tuple):
            text = "".join([self.read(token, piece) if is_field else piece for is_field, piece in self.value])
        else:
            assert callable(self.value)
            text = _returned(self.value(token))
        why = _unfit(self.place, text)
        if why is not None:
            raise RefreshProtocolError(
                f"no {_PLACES[self.place]} can carry what is to be written into {self.name!r}: {why}",
                generation=token.generation,
            )
        return text

    def secrets(self, token: Token, text: str) -> list[str]:
        """What may not be shown of `text`, which was written for the token.

        A short text, such as a number, is left out: it would be found anywhere by chance.
        """
        fields = self.value if isinstance(self.value, tuple) else None
        values = [text] if fields is None else [self.read(token, piece) for is_field, piece in fields if is_field]
        return [value for value in values if len(value) >= PART]

    @staticmethod
    def read(token: Token, name: str) -> str:
        """The field of the token that a piece of a template names. Raises `RefreshProtocolError` where it has none."""
        if name == "token":
            return token.reveal()
        _, *path = name.split(".")
        found: object = token.extra
        whole = ".".join(path)
        if whole in token.extra:
            found = token.extra[whole]
        else:
            for step in path:
                found = found.get(step) if isinstance(found, Mapping) else None
        if isinstance(found, bool) or not isinstance(found, (str, int, float)) or found == "":
            raise RefreshProtocolError(
                f"attach= wants the field {whole!r} of the token answer, and this token has none that is a text or a "
                "number",
                generation=token.generation,
            )
        return str(found)


_PLACES: Final[Mapping[Place, str]] = {"header": "header", "query": "query parameter", "cookie": "cookie"}


def parts_of(attach: object, header: str) -> tuple[Part, ...]:
    """The places that `attach` names. A template or a function alone is for `header`.

    Raises `ConfigurationError` for anything that is no `Attach`.
    """
    if isinstance(attach, Mapping):
        if not attach:
            raise ConfigurationError(f"attach= is empty: {_WRITE}")
        parts = tuple([_part(place, value) for place, value in attach.items()])
    else:
        if isinstance(attach, str) and (found := _LOOKS_LIKE_A_PLACE.match(attach)) is not None:
            raise ConfigurationError(
                f"attach= begins with {found[0]!r}, and a template is the value of the header {header!r}: for another "
                f"place, {_WRITE}; for a value that begins like this, attach={{{header!r}: '…'}}"
            )
        parts = (Part("header", header, _checked_value(attach, "attach=")),)
    seen: set[tuple[str, str]] = set()
    for part in parts:
        name = part.name.lower() if part.place == "header" else part.name
        if (part.place, name) in seen:
            raise ConfigurationError(f"attach= names the {_PLACES[part.place]} {part.name!r} twice")
        seen.add((part.place, name))
    if all(part.is_fixed for part in parts):
        raise ConfigurationError(
            "attach= has no {token} in it, so it would send no token: write {token} where the access token goes "
            "({{ and }} are braces)"
        )
    return parts


def scheme_of(parts: tuple[Part, ...]) -> str:
    """The authentication scheme with which a token is sent, as far as a template says so; else the empty text."""
    for part in parts:
        if part.name.lower() == "authorization" and part.place == "header" and isinstance(part.value, tuple):
            is_field, begin = part.value[0]
            word, space, _ = begin.partition(" ")
            return word if space and not is_field and TOKEN.fullmatch(word) else ""
    return ""


def checked_header(header: object) -> str:
    """The name of a header that may carry a token. Raises `ConfigurationError` for any other."""
    if not isinstance(header, str) or not TOKEN.fullmatch(header):
        raise ConfigurationError(f"header {header!r} is not a valid header name (RFC 9110 section 5.1)")
    if header.lower() == "cookie":
        raise ConfigurationError(
            "header 'Cookie' has another meaning, it holds all cookies: write attach={'cookie:NAME': '{token}'}"
        )
    if header.lower() in _RESERVED_HEADERS:
        raise ConfigurationError(
            f"header {header!r} has another meaning: use 'Authorization', or a header that the API defines"
        )
    return header


def _part(place: object, value: object) -> Part:
    if not isinstance(place, str):
        raise ConfigurationError(f"attach= is a mapping from texts, not from {type(place).__name__}: {_WRITE}")
    checked = _checked_value(value, f"attach= for {place!r}")
    if place.startswith("?"):
        if not _PARAMETER.fullmatch(place[1:]):
            raise ConfigurationError(f"attach=: {place!r} names no parameter of a query: write '?key'")
        return Part("query", place[1:], checked)
    cookie = _COOKIE.fullmatch(place)
    if cookie is None:
        return Part("header", checked_header(place), checked)
    if not TOKEN.fullmatch(cookie[1]):
        raise ConfigurationError(f"attach=: {place!r} names no cookie (RFC 6265 section 4.1.1): write 'cookie:session'")
    if isinstance(checked, tuple):
        for is_field, piece in checked:
            if not is_field and not _COOKIE_VALUE.fullmatch(piece.strip('"') or "x"):
                raise ConfigurationError(
                    f"attach= for {place!r}: a cookie cannot hold spaces, quotes, commas and semicolons"
                )
    return Part("cookie", cookie[1], checked)


def _checked_value(value: object, what: str) -> Value | tuple[tuple[bool, str], ...]:
    if isinstance(value, str):
        return tuple(_pieces(value, what))
    if not callable(value) or isinstance(value, type):
        raise ConfigurationError(f"{what} must be a template with {{token}}, or a function, not {type(value).__name__}")
    if is_async(value):
        raise ConfigurationError(f"{what} must be a plain function, not an async one: it only writes down a token")
    if any(test(call) for test in _GENERATES for call in (value, type(value).__call__)):
        raise ConfigurationError(f"{what} must be a plain function, not a generator: it returns one text")
    if not _takes_one(value):
        raise ConfigurationError(f"{what} must take one argument, the Token (as in lambda token: token.reveal())")
    function: Callable[[Token], str] = value
    return function


_GENERATES: Final = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def _takes_one(function: Callable[..., object]) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True  # some functions written in C do not tell
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def _pieces(template: str, what: str) -> Iterator[tuple[bool, str]]:
    # No error repeats the template, since somebody may have written a secret into it.
    if unsendable(template) is not None:
        raise ConfigurationError(
            f"{what} must be a template of printable ASCII characters, without spaces at its ends, such as "
            "'Token {token}'"
        )
    for piece in _PIECE.findall(template):
        if piece in ("{", "}"):
            raise ConfigurationError(f"{what} has a single {piece!r}: write {piece * 2!r} for a brace")
        if piece in ("{{", "}}"):
            yield False, piece[0]
        elif not piece.startswith("{"):
            yield False, piece
        elif piece == "{token}" or (piece.startswith("{extra.") and all(piece[1:-1].split("."))):
            yield True, piece[1:-1]
        else:
            shown = piece if _SHOWN.fullmatch(piece) else "{…}"
            raise ConfigurationError(
                f"{what} has {shown}, which is unknown: there are {{token}} and {{extra.NAME}}, a field of the token "
                "answer, and {{ and }} for braces"
            )


def _returned(text: object) -> str:
    if isinstance(text, str):
        return text
    kind = type(text).__name__
    del text  # it may hold the token, and would show in a traceback with locals
    raise ConfigurationError(f"the function of attach= must return a text, not {kind}")


def _unfit(place: Place, text: str) -> str | None:
    """Why the place cannot carry the text, in words; None where it can."""
    if not text:
        return "it is empty"
    if place == "header":
        found = unsendable(text)
        return None if found is None else found.rpartition(": ")[2]
    if place == "cookie":
        fits = _COOKIE_VALUE.fullmatch(text)
        return None if fits else "it has spaces, quotes, commas or other characters that end a cookie (RFC 6265)"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it is not Unicode"
    return None
