"""Checks of users' arguments, so that bad ones are refused at the earliest moment."""

from __future__ import annotations

import math
import time

from onerefresh import errors
from onerefresh.loops import is_async
from onerefresh.policy import Early
from onerefresh.refresher import translated
from onerefresh.token import Answer, Token
from onerefresh.token_response import parse_answer

__all__ = [
    "check",
    "check_key",
    "checked_early",
    "is_async",
    "refused_token",
    "seconds",
    "seed_from",
]


def seed_from(
    answer: Answer | None, name: str, bearer_field: str | None, refresher: object, *, new: bool = False
) -> Token | None:
    """The first token of a session, whose answer may be older than this process.

    `bearer_field`: the field that is sent in place of the access token. `new`: it is the answer to a login.

    `refresher`: may know the shape of the answer.

    Raises `ConfigurationError` for an answer without a usable token.
    """
    if answer is None:
        return None
    try:
        found = translated(refresher, answer)
        return parse_answer(found, at=time.time(), kept=True, new=new, bearer_field=bearer_field)
    except errors.RefreshProtocolError as error:
        message = error.message
    finally:
        found = None
        del answer  # it holds tokens, and would show in a traceback with locals
    raise errors.ConfigurationError(f"{name}: {message}")


def seconds(name: str, value: object) -> float:
    """`value` as a number of seconds. Raises `ConfigurationError` for anything else, and below 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise errors.ConfigurationError(f"{name} must be a number of seconds, not {value!r}")
    return float(value)


def refused_token(refused: Token | str) -> tuple[Token | None, errors.ConfigurationError | None]:
    """What the API refused, as a token; or the error for what is no bare token.

    A text becomes a token without a generation, which is compared by its text. The error is returned and not raised, so
    that no frame holds the text when it is.
    """
    if isinstance(refused, Token):
        return refused, None
    if not isinstance(refused, str):
        what = type(refused).__name__
    elif not refused:
        what = "an empty text"
    elif refused[:7].lower() == "bearer ":
        what = 'the text of a header: leave its "Bearer " out'
    else:
        return Token(refused, expires_at=None), None
    return None, errors.ConfigurationError(f"refused must be the refused Token, or the bare text of one, not {what}")


def checked_early(value: object) -> Early:
    """How long before its end a token is refreshed. Raises `ConfigurationError` for what `Early` does not allow."""
    if value is None or value is False:
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0.0 < value < math.inf:  # type: ignore[operator]  # a number
        raise errors.ConfigurationError(
            "early must be a number of seconds, 1 or more; or a share of the token's life, between 0 and 1; or False "
            f"for no refresh ahead of time; not {value!r}"
        )
    return float(value)  # type: ignore[arg-type]  # a number


def check_key(key: object) -> None:
    """Raise `ConfigurationError` for a key that is not a text of 1 to 512 printable characters."""
    if not isinstance(key, str) or not key or not key.isprintable() or len(key) > 512:
        raise errors.ConfigurationError("a credential's key must be a string of 1 to 512 printable characters")


def check(
    refresher: object, *, save: object = None, store: object = None, obtain: object = None, loop: object = None
) -> None:
    """Raise `ConfigurationError` for arguments of a `Credential` that are of the wrong kind, or exclude each other."""
    if not callable(refresher):
        raise errors.ConfigurationError(
            "the refresher must be a function that takes a Token and returns the next one, or a TokenEndpoint "
            f"or JsonEndpoint, not {type(refresher).__name__}"
        )
    for name, function in (("save", save), ("obtain", obtain)):
        if function is not None and not callable(function):
            raise errors.ConfigurationError(f"{name} must be a function, not {type(function).__name__}")
    if save is not None and store is not None:
        raise errors.ConfigurationError("save= replaces store=: give one of them")
    if loop is not None and not hasattr(loop, "call_soon_threadsafe"):
        raise errors.ConfigurationError(f"loop must be an asyncio event loop, not {type(loop).__name__}")
