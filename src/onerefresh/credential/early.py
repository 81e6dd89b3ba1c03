"""Waiting for the renewal of a token that still serves, where what waits may end before the next call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerefresh.flight import running_loop
from onerefresh.token import Token

if TYPE_CHECKING:
    from onerefresh.credential.credential import Credential

__all__ = ["EARLY", "aearly", "early"]

EARLY = 5.0
"""Seconds for which the next token is waited for; then the present one is used, since it still serves."""


def early(credential: Credential, token: Token) -> Token:
    """`token`, or the next one where it ages and its renewal brings one in time.

    For a process that has no other use for it. A renewal that fails is reported by its events: `token` still serves.
    """
    credential.current()  # an ageing one starts its renewal
    flight = credential._memory.flying
    if flight is not None:
        flight.wait(EARLY)
    return credential.current() or token


async def aearly(credential: Credential, token: Token) -> Token:
    """As `early`, for a task on whose loop the renewal runs: after a last call it would end with the loop."""
    flight = credential._memory.flying
    if flight is None or flight.loop is not running_loop():
        return token
    await flight.wait_async(EARLY)
    return credential.current() or token
