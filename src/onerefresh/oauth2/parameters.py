"""Checks of a token request's parameters, so that what no server accepts is refused before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from onerefresh.errors import ConfigurationError

__all__ = ["checked_extra", "checked_renamed", "checked_scope"]

_REPEATABLE = frozenset({"resource", "audience"})  # RFC 8707 section 2, RFC 8693 section 2.1
_OWN = frozenset(
    ("grant_type", "refresh_token", "client_id", "client_secret", "scope", "client_assertion", "client_assertion_type")
)
_RENAMEABLE = ("grant_type", "refresh_token", "client_id", "client_secret", "scope")


def checked_scope(scope: object) -> str | None:
    """The scope. Raises `ConfigurationError` for one that RFC 6749 section 3.3 does not allow."""
    if scope is None:
        return None
    if not isinstance(scope, str):
        raise ConfigurationError(f"scope must be a string with spaces between the scopes, not {type(scope).__name__}")
    allowed = scope.isascii() and scope.isprintable() and not set(scope) & set('"\\')
    if not allowed or not scope or "  " in scope or scope != scope.strip():
        raise ConfigurationError(
            f"scope {scope!r} is not usable: write scopes with one space between them, or leave it out"
        )
    return scope


def checked_renamed(renamed: object) -> Mapping[str, str]:
    """What a server calls fields of the standard. Raises `ConfigurationError` for names that cannot be meant."""
    if not isinstance(renamed, Mapping):
        raise ConfigurationError(
            f"renamed must be a mapping such as {{'client_id': 'client_key'}}, not {type(renamed).__name__}"
        )
    for name, own in renamed.items():
        if name not in _RENAMEABLE:
            raise ConfigurationError(f"renamed has an unknown field {name!r}: use some of {', '.join(_RENAMEABLE)}")
        if not isinstance(own, str) or not own or not own.isprintable():
            raise ConfigurationError(f"renamed[{name!r}] must be a field name, not {own!r}")
    sent = [renamed.get(name, name) for name in _RENAMEABLE]
    if len(set(sent)) < len(sent):
        raise ConfigurationError("renamed gives two fields the same name")
    return MappingProxyType(dict(renamed))


def checked_extra(
    extra: object, query_names: Iterable[str] = (), renamed: Mapping[str, str] = MappingProxyType({})
) -> tuple[tuple[str, str], ...]:
    """Further fields of the body, as pairs. A list of texts is allowed where a standard repeats the field.

    `renamed`: names that are taken by fields of the standard.

    Raises `ConfigurationError` for a field that is set elsewhere, or twice (RFC 6749 section 3.2).
    """
    if not isinstance(extra, Mapping):
        raise ConfigurationError(f"extra must be a mapping of names to strings, not {type(extra).__name__}")
    for name in sorted(_OWN & {*extra, *query_names}):
        where = "extra" if name in extra else "the token endpoint URL"
        raise ConfigurationError(f"{name!r} does not belong in {where}: {_place_of(name)}")
    for name, own in renamed.items():
        if own in extra or own in set(query_names):
            raise ConfigurationError(f"{own!r} is the name of {name!r} according to renamed=: leave it out elsewhere")
    found = _pairs(extra, frozenset(query_names))
    if isinstance(found, str):
        del extra  # a secret in it would show in a traceback with locals
        raise ConfigurationError(found)
    return found


def _pairs(extra: Mapping[object, object], query_names: frozenset[str]) -> tuple[tuple[str, str], ...] | str:
    """The pairs, or what is wrong with them."""
    pairs: list[tuple[str, str]] = []
    for name, value in extra.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            return f"extra has a key that is not a field name: {name!r}"
        if name in query_names:
            return f"{name!r} is both in extra and in the token endpoint URL: remove one of them"
        for text in value if isinstance(value, (list, tuple)) and name in _REPEATABLE else [value]:
            if not isinstance(text, str) or not _can_be_sent(text):
                lists = " or a list of strings" if name in _REPEATABLE else ""
                return f"extra[{name!r}] must be a string{lists}"
            pairs.append((name, text))
    return tuple(pairs)


def _place_of(name: str) -> str:
    if name.startswith("client_assertion"):
        return "an assertion is valid for one request only; pass a send= that adds a new one to each request"
    return (
        "the refresh token comes from the credential" if name == "refresh_token" else "use the argument of that purpose"
    )


def _can_be_sent(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
