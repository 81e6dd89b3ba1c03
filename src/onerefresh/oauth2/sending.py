"""What every endpoint needs to send its requests: a sender, and the checks of the arguments about sending."""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias, get_args

from onerefresh.errors import ConfigurationError
from onerefresh.judge_exception import judge_exception
from onerefresh.oauth2.address import Address
from onerefresh.oauth2.codec import Grant, TokenRequest, TokenResponse
from onerefresh.verdict import FailureKind, Verdict

__all__ = [
    "Send",
    "checked_grant",
    "checked_limit",
    "checked_send",
    "checked_timeout",
    "default_sender",
    "prepared",
    "sent",
    "without_session",
]

Send: TypeAlias = Callable[[TokenRequest], TokenResponse]
"""Sends one request, once, and returns the answer, whatever its status; raises where there is none.

Where it has a method ``prepare()``, that is called before a renewal begins.
"""


def default_sender(address: Address) -> Send:
    """The sender for an endpoint: with httpx2 where it is installed, else with the standard library."""
    if importlib.util.find_spec("httpx2") is not None:
        from onerefresh.oauth2.send_httpx2 import Httpx2Sender

        return Httpx2Sender(address)
    from onerefresh.oauth2.send_stdlib import StdlibSender

    return StdlibSender(address)


def prepared(send: Send) -> Send:
    """The same sender, once it has done what takes long."""
    prepare = getattr(send, "prepare", None)
    if prepare is not None:
        prepare()
    return send


def sent(send: Send, request: TokenRequest) -> TokenResponse | Verdict:
    """The answer, or the verdict where there is none. The sender's exception ends here: it may hold the request."""
    try:
        response = send(request)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a sender may raise anything; the verdict says what it means
        return judge_exception(error, hidden=request.hidden)
    if isinstance(response, TokenResponse):
        return response
    return Verdict(FailureKind.REFRESHER, f"send returned {type(response).__name__}, not a TokenResponse")


def without_session(verdict: Verdict) -> Verdict:
    """The verdict where the token is given for the client's secret: no session can be over, and nothing is spent."""
    if verdict.kind in (FailureKind.DEAD, FailureKind.DOUBTFUL):
        return replace(verdict, kind=FailureKind.CLIENT_REJECTED)
    if verdict.kind in (FailureKind.NO_ANSWER, FailureKind.SERVER_ERROR):
        return replace(verdict, kind=FailureKind.UNAVAILABLE)  # the request may be repeated
    return verdict


def checked_grant(grant: object) -> Grant:
    """`grant`. Raises `ConfigurationError` for an unknown one."""
    known: tuple[Grant, ...] = get_args(Grant)
    found = next((one for one in known if one == grant), None)
    if found is None:
        raise ConfigurationError(f"unknown grant {grant!r}: use one of {', '.join(known)}")
    return found


def checked_send(send: object) -> Send:
    """`send`. Raises `ConfigurationError` for anything but a plain function."""
    if not callable(send):
        raise ConfigurationError(
            f"send must be a function from TokenRequest to TokenResponse, not {type(send).__name__}"
        )
    if inspect.iscoroutinefunction(send) or inspect.iscoroutinefunction(type(send).__call__):
        raise ConfigurationError("send must be a plain function, not async: it runs on a thread of its own")
    return send


def checked_limit(limit: object) -> int:
    """`limit` as a number of renewals. Raises `ConfigurationError`."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ConfigurationError(f"limit must be a whole number, 1 or more, not {limit!r}")
    return limit


def checked_timeout(timeout: object) -> float:
    """`timeout` in seconds. Raises `ConfigurationError`."""
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise ConfigurationError(f"timeout must be a number of seconds, not {type(timeout).__name__}")
    if not (math.isfinite(timeout) and timeout > 0):
        raise ConfigurationError(f"timeout must be a number of seconds above 0, not {timeout}")
    return float(timeout)
