"""A text that does not show what it is, and what is secret in an answer."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, NoReturn, Self

from onerefresh.answers import is_secret

if TYPE_CHECKING:
    pass

__all__ = ["MOST_LOOKED_AT", "Secret", "secrets_in"]

MOST_LOOKED_AT = 1000
"""How many values of an answer are searched for secrets."""


class Secret:
    """A text that is shown only where code asks for it by name, with `reveal`.

    Its ``repr``, ``str`` and ``format`` show nothing; it compares in constant time; it cannot be pickled.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            kind = type(text).__name__
            del text  # it would show in a traceback with locals
            raise TypeError(f"a secret must be a str, not {kind}")
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def fingerprint(self) -> str:
        """16 hexadecimal digits of a digest, which tell secrets apart in logs and records and reveal none."""
        return hashlib.sha256(b"onerefresh:" + self._text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled: send the credential's name, and load the token at the other end")


def secrets_in(value: object) -> list[Secret]:
    """What is secret in an answer, or in a part of it: the values of fields with a secret's name, however deep."""
    found: list[Secret] = []
    waiting: deque[tuple[str, object]] = deque([("", value)])
    for _ in range(MOST_LOOKED_AT):
        if not waiting:
            break
        name, inner = waiting.popleft()
        if isinstance(inner, Mapping):
            # A mapping of a user's class may raise anything, and must cost no token.
            with contextlib.suppress(Exception):
                waiting += [(str(key), one) for key, one in islice(inner.items(), MOST_LOOKED_AT)]
        elif isinstance(inner, (list, tuple)):
            waiting += [(name, one) for one in islice(inner, MOST_LOOKED_AT)]
        elif isinstance(inner, str) and is_secret(name, inner):
            found.append(Secret(inner))
    return found
