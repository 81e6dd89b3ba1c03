"""What niquests does beyond requests, where `onerefresh.clients.requests` cannot follow.

niquests calls the auth of a session as requests does, so `BearerAuth` serves its ordinary sessions. Without these
checks, the first refusal would be the first to show that another session is none: by a coroutine that nobody awaits, or
by a 401 after the refresh.
"""

from __future__ import annotations

from typing import Final

from onerefresh.errors import ConfigurationError

__all__ = ["is_of_niquests", "refuse_niquests_modes"]

_OTHERWISE: Final = (
    "Use niquests.Session() without multiplexed=True, or give niquests a function that sets the header from "
    "credential.abearer(): see 'A client that takes a function' in docs/clients.md"
)


def is_of_niquests(message: object) -> bool:
    """Whether a request or a response is one of niquests."""
    return type(message).__module__.partition(".")[0] == "niquests"


def refuse_niquests_modes(session: object, *, has_rules: bool) -> None:
    """Raise `ConfigurationError` where a call of niquests would end in another way than one of requests.

    `session`: the one that prepares the request; None where it was not found. `has_rules`: ``refused=`` was given.
    """
    names = [kind.__name__ for kind in type(session).__mro__]
    if "AsyncSession" in names:
        message = "BearerAuth of onerefresh.clients.requests waits for a token by blocking, and this is an AsyncSession"
    elif getattr(session, "multiplexed", False):
        message = "niquests with multiplexed=True hands out an answer before anybody has seen that it is a refusal"
    elif has_rules:
        message = "refused= cannot look at the answers of niquests: use requests, or refused_statuses alone"
        raise ConfigurationError(message)
    else:
        return
    raise ConfigurationError(f"{message}. {_OTHERWISE}")
