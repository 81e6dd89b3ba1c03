"""When to refresh, how long to back off, and when to look at a store again.

These are rules only: nothing here reads a clock or sleeps.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

from onerefresh.token import Token

__all__ = [
    "BUDGET_TIME",
    "EARLY_REFRESHES",
    "FOR_GOOD",
    "LONGEST_PAUSE",
    "LOOK_AGAIN",
    "Early",
    "Renewal",
    "Thresholds",
    "backoff",
    "doubt_pause",
    "due_at",
    "half_life",
    "look_every",
    "outlasts_until",
    "recovery_time",
    "refusal_pause",
    "renewal_ends_at",
    "thresholds",
]

# How long before its end a token counts as unusable: a share of its life, and at least two seconds where that is no
# more than a fifth of it. Servers count whole seconds, and a call travels for a while.
UNUSABLE_SHARE, UNUSABLE_LEAST, UNUSABLE_MOST = 0.02, 2.0, 5.0
UNUSABLE_LARGEST_SHARE = 0.2
# How long before its end a token counts as ageing: a share of its life, at least twice as long as it is unusable.
AGEING_SHARE, AGEING_MOST = 0.2, 300.0
# Of a window that the user has set, how much may differ between processes; and the share of a token's life in which it
# is fresh, however early the user wants it refreshed: else every call would refresh it.
EARLY_SPREAD, LEAST_FRESH_SHARE = 0.1, 0.5

SPARED_SHARE = 0.1
"""The first share of a token's life, in which `due_at` and `outlasts_until` never renew it."""

Early: TypeAlias = float | Literal[False] | None
"""How long before its end a token is ageing: seconds (1 or more), a share of its life (less than 1), or not at all.

None: as `thresholds` decides.
"""

LOOK_AGAIN = 1.0
"""Seconds between two looks at a record that had nothing better to offer."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 300.0
LONGEST_RETRY_AFTER = 3600.0
"""Seconds to which an absurdly long ``Retry-After`` is cut."""
PATIENCE = 5.0
"""Seconds: the longest pause of the token endpoint through which callers wait. For a longer one they get an error."""

FIRST_DOUBT, LONGEST_DOUBT = 30.0, 21_600.0
"""Seconds until the token endpoint is asked again after a doubtful refusal: at first, and at most."""
FOR_GOOD = 3_153_600_000.0
"""Seconds that mean: never, unless somebody asks for it. It is a number, so that every version understands it."""

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
EARLY_REFRESHES, BUDGET_TIME = 6, 60.0
"""So many refreshes within so many seconds may come early.

Early means sooner than half a token's life after the refresh before.
"""
SHORTEST_HALF_LIFE = 0.5
"""Seconds. A token that lives for less than twice as long is a mistake, since servers count whole seconds.

Without this bound, such a token would be refreshed for each call.
"""
HTTP_TIMEOUT = 10.0
"""Seconds that a token request may take where the refresher states none itself (its attribute ``timeout``)."""
DETECTION = 2.0
"""Seconds: how late a waiting process may notice that a lease is over."""
SENDS_IN_A_LEASE = 4

LOOK_EVERY, LOOK_SELDOM = 2.5, 10.0
"""Seconds between two looks of one process at whether a store has lost what it was given.

The first applies where the store may lose writes (`Store.may_go_back`), the second where only somebody who deletes or
restores its data can make it lose them.
"""


class Thresholds(NamedTuple):
    """A token is fresh until `refresh_at`, ageing until `unusable_at`, then unusable. Seconds since the epoch."""

    refresh_at: float
    unusable_at: float


def thresholds(token: Token, jitter: float, early: Early = None) -> Thresholds:
    """The times from which `token` is ageing and unusable. It is ageing, too, in the last fifth of its refresh token.

    `jitter`, in [0, 1), is this process's random share, so that a fleet does not refresh in step. The thresholds scale
    with the lifetime, so a token that lives for seconds is still used for most of its life: fresh for half of it,
    usable for four fifths. The jitter only narrows the ageing window, never below twice the unusable one.

    `early`: how long before its end the user wants the token refreshed. It is fresh for half of its life all the same.
    """
    if not token.is_sendable:
        return Thresholds(-math.inf, -math.inf)  # stored by an earlier version: no call can use it
    renewal = renewal_ends_at(token)
    must_renew_at = math.inf if renewal is None else renewal.at - renewal.life * AGEING_SHARE * (1.0 - 0.25 * jitter)
    if token.expires_at is None:
        return Thresholds(must_renew_at, math.inf)
    life = max(token.expires_at - token.issued_at, 0.0)
    unusable = min(max(life * UNUSABLE_SHARE, UNUSABLE_LEAST), life * UNUSABLE_LARGEST_SHARE, UNUSABLE_MOST)
    if early is None:
        ageing = max(min(life * AGEING_SHARE, AGEING_MOST) * (1.0 - 0.25 * jitter), unusable * (2.5 - 0.5 * jitter))
    else:
        wanted = early if early >= 1.0 else early * life  # False is 0
        ageing = min(wanted * (1.0 - EARLY_SPREAD * jitter), life * (1.0 - LEAST_FRESH_SHARE))
    unusable_at = token.expires_at - unusable
    return Thresholds(min(token.expires_at - ageing, unusable_at, must_renew_at), unusable_at)


class Renewal(NamedTuple):
    """When a refresh token ends, in seconds since the epoch, and the seconds that it lives from its last use."""

    at: float
    life: float


def renewal_ends_at(token: Token) -> Renewal | None:
    """The refresh token's end, where it is known and a refresh would move it; None otherwise.

    A refresh cannot help where the last one did not move the end, as at a session's maximum, nor where the refresh
    token had ended before it came.
    """
    ends_at = token.refresh_expires_at
    if ends_at is None or token.refresh_token is None or not token.refresh_end_moves:
        return None
    life = ends_at - token.issued_at
    return Renewal(ends_at, life) if life >= SHORTEST_HALF_LIFE * 2.0 else None


def due_at(token: Token, within: float | None, unused_for: float | None = None) -> float:
    """When a token becomes due if everything that expires within `within` seconds is to be renewed.

    Seconds since the epoch. Never in the first tenth of a token's life: several workers would otherwise renew
    short-lived tokens over and over. It is due, too, where its refresh token ends within that time. `unused_for`:
    everything whose refresh token was not used for so long, or is in the last fifth of its life.
    """
    if not token.is_sendable:
        return -math.inf
    due, renewal = math.inf, renewal_ends_at(token)
    if unused_for is not None and token.refresh_token is not None:
        due = token.issued_at + unused_for
        if renewal is not None:
            due = min(due, renewal.at - renewal.life * AGEING_SHARE)
    if within is not None and renewal is not None:
        due = min(due, renewal.at - min(within, renewal.life * (1.0 - SPARED_SHARE)))
    if within is not None and token.expires_at is not None:
        life = max(token.expires_at - token.issued_at, 0.0)
        due = min(due, token.expires_at - min(within, life * (1.0 - SPARED_SHARE)))
    return due


def outlasts_until(token: Token, min_valid: float) -> float:
    """Until when a token is enough for whoever needs one that is valid for `min_valid` seconds.

    Seconds since the epoch. A token in the first tenth of its life is enough. One whose whole life is shorter than
    `min_valid` is enough for half of its life, since the next one would live no longer.
    """
    if token.expires_at is None:
        return math.inf
    life = max(token.expires_at - token.issued_at, 0.0)
    share = 1.0 - SPARED_SHARE if min_valid <= life else 1.0 - LEAST_FRESH_SHARE
    return token.expires_at - min(min_valid, life * share)


def backoff(failures: int, jitter: float, retry_after: float | None = None) -> float:
    """Seconds until the token endpoint may be asked again after `failures` (1, 2, …) in a row.

    The server's own ``Retry-After`` counts where it is longer, up to `LONGEST_RETRY_AFTER`.
    """
    delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 32), LONGEST_DELAY) * (1.0 + 0.2 * jitter)
    return max(delay, min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def look_every(*, may_go_back: bool) -> float:
    """Seconds between two looks at whether a store has lost what it was given."""
    return LOOK_EVERY if may_go_back else LOOK_SELDOM


def recovery_time(*, may_go_back: bool) -> float:
    """Seconds for which a token that was restored into a store is not sent: two looks.

    By then each process that holds a newer token has seen the loss, and restored that one.
    """
    return 2.0 * look_every(may_go_back=may_go_back)


def doubt_pause(doubts: int, jitter: float, retry_after: float | None = None) -> float:
    """Seconds until the token endpoint may be asked again after so many doubtful refusals in a row."""
    delay = min(FIRST_DOUBT * 2.0 ** min(doubts - 1, 32), LONGEST_DOUBT) * (1.0 + 0.2 * jitter)
    return max(delay, min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def refusal_pause(refused_replays: int) -> float:
    """Seconds before a refusal may cause a refresh again, after so many refused replays in a row."""
    return min(FIRST_PAUSE * 2.0 ** min(max(refused_replays - 1, 0), 32), LONGEST_PAUSE)


def half_life(token: Token) -> float:
    """Seconds after a refresh from which on the next one is not early."""
    if token.expires_at is None:
        return math.inf
    return max((token.expires_at - token.issued_at) / 2.0, SHORTEST_HALF_LIFE)
