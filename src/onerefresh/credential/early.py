"""Waiting for the renewal of a token that still serves, in a process or task that may end before its next call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerefresh.running_loop import running_loop
from onerefresh.token import Token

if TYPE_CHECKING:
    from onerefresh.credential.credential import Credential

__all__ = ["EARLY", "aearly", "early"]

EARLY = 5.0
"""Seconds to wait for the next token; then the present one is used, since it still serves."""


def early(credential: Credential, token: Token) -> Token:
    """`token`, or the next one where `token` is ageing and its renewal ends in time.

    For a process that does nothing but hand the token out. A failed renewal is reported by its events; `token` still
    serves.
    """
    credential.current()  # starts the renewal of an ageing token
    flight = credential._memory.flying
    if flight is not None:
        flight.wait(EARLY)
    return credential.current() or token


async def aearly(credential: Credential, token: Token) -> Token:
    """As `early`, for a task on whose loop the renewal runs: after the task's last call both would end."""
    flight = credential._memory.flying
    if flight is None or flight.loop is not running_loop():
        return token
    await flight.wait_async(EARLY)
    return credential.current() or token
