"""Checks of what users pass for many credentials, so that bad arguments are refused at the earliest moment."""

from __future__ import annotations

from onerefresh import errors
from onerefresh.credential.arguments import check, is_async, seconds
from onerefresh.token import Answer, Token

__all__ = ["check_due", "check_many", "nobody", "whole"]


def check_many(refresher: object, refresher_for: object, token_for: object, store: object, loop: object) -> None:
    """Raise `ConfigurationError` for arguments of `Credentials` that are of the wrong kind, or where one is missing."""
    if refresher is None and refresher_for is None:
        raise errors.ConfigurationError("there is no refresher: pass one for all credentials, or refresher_for=")
    if refresher_for is not None and (not callable(refresher_for) or is_async(refresher_for)):
        raise errors.ConfigurationError("refresher_for must be a plain function from a key to its refresher")
    if token_for is not None and (not callable(token_for) or is_async(token_for)):
        raise errors.ConfigurationError("token_for must be a plain function from a key to its first token, or None")
    if store is None:
        raise errors.ConfigurationError("many credentials need a store: pass one with store=")
    check(nobody if refresher is None else refresher, loop=loop)


def check_due(within: object, unused_for: object, *, keys: object, rate: object) -> None:
    """Raise `ConfigurationError` for arguments of `refresh_due` that make no sense."""
    if isinstance(keys, str):
        raise errors.ConfigurationError("keys must be several strings: a list or another iterable")
    if rate is not None and not seconds("rate", rate) > 0.0:
        raise errors.ConfigurationError("rate must be a number of renewals per second, more than 0, or None")
    if within is None and unused_for is None:
        raise errors.ConfigurationError("say what is due: within=SECONDS, unused_for=SECONDS, or both")
    if unused_for is not None and not seconds("unused_for", unused_for) > 0.0:
        raise errors.ConfigurationError("unused_for must be a number of seconds, more than 0")


def nobody(_: Token) -> Answer:
    """Stands for the refresher of all, where there is none."""
    raise errors.ConfigurationError("there is no refresher for this credential")


def whole(name: str, value: object) -> int:
    """`value` as a whole number, 1 or more. Raises `ConfigurationError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise errors.ConfigurationError(f"{name} must be a whole number, 1 or more, not {value!r}")
    return value
