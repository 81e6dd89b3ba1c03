"""urllib3's `Retry` beneath a session of requests, where it repeats the very refusals that a new token answers.

``Retry(status_forcelist=[401])`` is beneath every integration: it repeats a refused call with the refused token, and
then raises, so that nobody above sees the refusal, and no refresh follows.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from requests import PreparedRequest
from requests.adapters import BaseAdapter

from onerefresh.errors import ConfigurationError

__all__ = ["refuse_hidden_refusals", "session_of", "that_returns_refusals"]

FRAMES = 12
"""How many callers of an auth are looked at: requests has three between its session and its auth."""


def that_returns_refusals(adapter: BaseAdapter, statuses: Collection[int]) -> BaseAdapter:
    """`adapter`, or one with the same connections that repeats no answer with one of these statuses."""
    if not _repeats(adapter, statuses):
        return adapter
    retries: Any = adapter.max_retries  # type: ignore[attr-defined]  # it has them, since it repeats
    twin = object.__new__(type(adapter))
    twin.__dict__.update(adapter.__dict__)
    twin.__dict__["max_retries"] = retries.new(status_forcelist=frozenset(retries.status_forcelist) - set(statuses))
    return twin


def refuse_hidden_refusals(request: PreparedRequest, session: Any, statuses: Collection[int]) -> None:
    """Raise `ConfigurationError` where `session` would raise for a refusal before the integration sees it.

    Where the session is None, since it was not found, the call is left alone.
    """
    if session is None or request.url is None:
        return
    adapter = session.get_adapter(request.url)
    if not _repeats(adapter, statuses):
        return
    retries: Any = adapter.max_retries
    if not retries.raise_on_status:
        return
    hidden = sorted(set(retries.status_forcelist) & set(statuses))
    raise ConfigurationError(
        f"this session's urllib3 Retry repeats answers with status {', '.join(map(str, hidden))}, with the token that "
        "was refused, and then raises, so that BearerAuth never sees the refusal: leave that status out of "
        "status_forcelist (BearerAuth itself repeats the call with a new token), or mount "
        "BearerAdapter(credential, origin, HTTPAdapter(max_retries=…)) in place of BearerAuth"
    )


def _repeats(adapter: BaseAdapter, statuses: Collection[int]) -> bool:
    forced: Any = getattr(getattr(adapter, "max_retries", None), "status_forcelist", None)
    return bool(forced) and not set(forced).isdisjoint(statuses)


def session_of() -> Any:
    """The session that prepares a request just now: of requests, or of niquests, which does as requests does.

    The request does not know it, so it is looked for among the callers; None where it is not there.
    """
    frame = sys._getframe(1)
    for _ in range(FRAMES):
        if frame.f_code.co_name == "prepare_request":
            session = frame.f_locals.get("self")
            if hasattr(session, "get_adapter"):
                return session
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None
