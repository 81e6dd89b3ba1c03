"""Waiting for a token that is valid for longer than the present one, which is the answer where none is to be had."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from onerefresh import errors
from onerefresh.flight import Flight
from onerefresh.real_time import monotonic
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.request import Ahead
from onerefresh.token import Token

if TYPE_CHECKING:
    from onerefresh.credential.credential import Credential

__all__ = ["alasting", "lasting"]

MOST_FLIGHTS = 3
"""How many renewals a caller waits for. Others may have begun the first ones, for less than this caller needs."""


def lasting(credential: Credential, token: Token, min_valid: float, deadline: float, patience: float) -> Token:
    """`token`, or the next one where `token` is not valid for `min_valid` seconds any more.

    `deadline`: on the monotonic clock, after `patience` seconds in all. Where no renewal succeeds until then, `token`
    is the answer as long as it serves.
    """
    for _ in range(MOST_FLIGHTS):
        found = credential._lasting(token, min_valid, blocking=True)
        if found is None:
            break
        flight, ours = found
        in_time = flight.wait(deadline - monotonic(), _starter(credential, flight, min_valid))
        token, is_last = _after(credential, flight, patience, in_time=in_time)
        if ours or is_last:
            break
    return token


async def alasting(credential: Credential, token: Token, min_valid: float, deadline: float, patience: float) -> Token:
    """As `lasting`, for tasks."""
    for _ in range(MOST_FLIGHTS):
        found = credential._lasting(token, min_valid, blocking=False)
        if found is None:
            break
        flight, ours = found
        in_time = await flight.wait_async(deadline - monotonic(), _starter(credential, flight, min_valid))
        token, is_last = _after(credential, flight, patience, in_time=in_time)
        if ours or is_last:
            break
    return token


def _starter(credential: Credential, flight: Flight[Outcome], min_valid: float) -> Callable[[], None]:
    """What starts the renewal again if it has not begun."""
    return partial(credential._launcher.launch, flight, background=True, ahead=Ahead(min_valid=min_valid))


def _after(credential: Credential, flight: Flight[Outcome], patience: float, *, in_time: bool) -> tuple[Token, bool]:
    """The token after a wait for `flight`, and whether another renewal would be in vain.

    Raises the flight's error where no token serves; else it is reported by its events.
    """
    served = credential._memory.serving(None)
    if not in_time:
        timed_out = credential._timed_out(flight, patience)
        if served is None:
            raise timed_out
        return served, True
    try:
        return flight.result().token, False
    except errors.OnerefreshError:
        if served is None:
            raise
        return served, not flight.lost_its_loop
