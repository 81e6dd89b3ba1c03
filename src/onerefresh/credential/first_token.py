"""The first token of a credential where a function of the host gives it, which is called with the first use.

The function may read a database. So it is called on a thread of the library, never on that of an event loop, and not
for credentials that are only named. Calls that hang do not take all threads: only so many are at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from onerefresh import errors
from onerefresh.credential.arguments import seed_from
from onerefresh.credential.options import CredentialOptions
from onerefresh.foreign import vetted
from onerefresh.redaction import Redactor, plain
from onerefresh.store import Store
from onerefresh.token import Answer, Token
from onerefresh.user_code import asking

__all__ = ["FirstToken", "first_of", "look_up", "raised_by"]

FirstToken = Callable[[str, CredentialOptions], Token | None]
"""Gives the first token of a key, or None. Raises `ConfigurationError` for what is no token, and anything else."""

PLACE = "token_for"
"""Where only so many calls are at the same time, as at a host."""


class Caller(Protocol):
    """What the call needs of its run."""

    def report(self, phase: str, /) -> None:
        """Take in how far the run is, in words."""

    def go_on(self, key: str, /) -> None:
        """Raise `CredentialClosed` where the interpreter is ending and no caller waits."""


def first_of(token_for: Callable[[str], Answer | None]) -> FirstToken:
    """What `token_for` gives, as tokens."""

    def first(key: str, options: CredentialOptions) -> Token | None:
        answer = token_for(key)
        try:
            return seed_from(answer, "token_for", options.bearer_field, options.refresher)
        finally:
            del answer  # it holds tokens, and would show in a traceback with locals

    return first


async def look_up(
    first: FirstToken, key: str, options: CredentialOptions, store: Store, run: Caller, *, is_urgent: bool
) -> Token | None:
    """What `first` gives for this key. `is_urgent`: without a turn, since one that has a turn may wait for it.

    Raises `ConfigurationError` for what is no token, `RefresherFailed` for what the function raises, and
    `CredentialClosed` where the interpreter ends meanwhile.
    """
    failure: BaseException
    slot = None if is_urgent or options.turns is None else options.turns.queue(PLACE, None, key)
    try:
        if slot is not None and not slot.is_granted:
            run.report(f"its first token is looked up after those of {slot.behind} others, and nothing was sent yet")
            await slot.comes(partial(run.go_on, key))
        run.report("its first token is being looked up, and token_for has not returned")
        with asking(store, key):
            return first(key, options)
    except errors.OnerefreshError as error:
        failure = vetted(error, Redactor())
    except GeneratorExit:  # a forked child drops its copy
        raise
    except BaseException as error:  # noqa: BLE001 - the callers must not wait on, whatever it raises
        failure = raised_by("token_for", key, error)
    finally:
        if slot is not None:
            slot.leave(answered=True)
    raise failure  # outside of `except`, so that no other error is its context


def raised_by(function: str, key: str, error: BaseException) -> errors.RefresherFailed:
    """The error for a tenant for which this function of the user raised."""
    name = plain(type(error).__name__)
    failed = errors.RefresherFailed(f"{function} raised {name}; see the cause", credential=key)
    failed.__cause__ = vetted(error, Redactor()).with_traceback(None)
    return failed
