"""A request with gaps: texts with ``{refresh_token}`` and the like, and secrets that are fetched before it is sent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from onerefresh.answers import is_secret
from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.secret_value import SecretValue
from onerefresh.redaction import Redactor
from onerefresh.secret import Secret

__all__ = ["Part", "Template", "gaps_in"]

Part: TypeAlias = object
"""Of a body: texts, `Secret`s, functions that return one, numbers, True, False, None, lists and mappings."""

_GAP = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DEEPEST = 20


def gaps_in(text: str) -> list[str]:
    """The names of the gaps in a text."""
    return _GAP.findall(text)


class Template:
    """One part of a request, called `what` in errors.

    * `names`: the gaps that there may be. A text that has other words in braces keeps them, as GraphQL needs, unless it
      consists of nothing else.

    Raises `ConfigurationError` for values that no request can carry.
    """

    def __init__(self, value: Part, what: str, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._secrets: list[SecretValue] = []
        self._hidden: list[Secret] = []
        self.gaps: set[str] = set()
        self._value = self._checked(value, what, "", 0)

    @property
    def secrets(self) -> list[SecretValue]:
        """The secrets in it that were given as such, or by functions."""
        return self._secrets

    @property
    def secrets_to_hide(self) -> list[Secret]:
        """Its secrets as far as they are known, and texts that look like secrets by their names."""
        return [*self._hidden, *(secret for one in self._secrets for secret in one.known)]

    def filled(self, fillings: Mapping[str, str], hidden: Redactor, quoted: Callable[[str], str] = str) -> object:
        """The value with its gaps filled. `quoted`: makes a filling fit to stand there."""

        def fill(value: object) -> object:
            if isinstance(value, str):
                return _GAP.sub(lambda gap: quoted(fillings[gap[1]]) if gap[1] in fillings else gap[0], value)
            if isinstance(value, SecretValue):
                return value.current(hidden).reveal()
            if isinstance(value, dict):
                return {name: fill(one) for name, one in value.items()}
            return [fill(one) for one in value] if isinstance(value, list) else value

        return fill(self._value)

    def settings(self, hidden: Redactor) -> tuple[object, ...]:
        """What tells it from others, with its secrets as they are now."""
        return tuple(one.look(hidden) if isinstance(one, SecretValue) else one for one in _leaves(self._value))

    def _checked(self, value: object, what: str, name: str, depth: int) -> object:
        if depth > _DEEPEST:
            raise ConfigurationError(f"{what} is nested too deeply")
        if isinstance(value, str):
            self._take_gaps(value, what)
            if not gaps_in(value) and is_secret(name, value):
                self._hidden.append(Secret(value))
            return value
        if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, Secret) or callable(value):
            secret = SecretValue(value, what)
            self._secrets.append(secret)
            return secret
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str) or not key or not key.isprintable():
                    raise ConfigurationError(f"{what} has a key that is not a name: {key!r}")
            return {key: self._checked(one, f"{what}[{key!r}]", key, depth + 1) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._checked(one, f"{what}[{number}]", name, depth + 1) for number, one in enumerate(value)]
        raise ConfigurationError(f"{what} must be a text, a Secret, a function or JSON, not {type(value).__name__}")

    def _take_gaps(self, text: str, what: str) -> None:
        found = gaps_in(text)
        self.gaps.update(self._names.intersection(found))
        strange = next((name for name in found if name not in self._names), None)
        if strange is not None and _GAP.fullmatch(text.rpartition(" ")[2]):
            raise ConfigurationError(
                f"{what} has an unknown gap {{{strange}}}: the known ones are "
                + ", ".join(f"{{{name}}}" for name in sorted(self._names))
                + "; keep= adds others"
            )


def _leaves(value: object) -> Iterator[object]:
    """The parts of a value in their order, as texts and secrets."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _leaves(one)
    elif isinstance(value, list):
        yield f"[{len(value)}"
        for one in value:
            yield from _leaves(one)
    else:
        yield value if isinstance(value, SecretValue) else repr(value)
