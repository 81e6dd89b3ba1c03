"""What an exception of a refresher or sender means: by the answer that it carries, else by its type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from onerefresh import errors
from onerefresh.answers import as_seconds
from onerefresh.bodies import header, pause_of
from onerefresh.judge_answer import BY_CODE, judge_answer
from onerefresh.redaction import NOTHING_KNOWN, Redactor, is_ours, plain
from onerefresh.verdict import EITHER, ERRORS, FailureKind, RefreshFailure, Verdict

__all__ = ["judge_exception"]


def judge_exception(error: BaseException, *, hidden: Redactor = NOTHING_KNOWN) -> Verdict:
    """The verdict on an exception of a user's refresher or sender. `hidden`: as for `judge_answer`.

    An exception that carries an HTTP response is judged by the response, one that carries an OAuth ``error`` code by
    the code. Of the connection errors of httpx, httpx2, requests, urllib3, aiohttp and the standard library, those that
    surely happened before the request was sent are told apart from the others. Anything else is the refresher's own.
    """
    if isinstance(error, RefreshFailure):
        return error.verdict.vetted(hidden, ours=is_ours(error))
    name = hidden.masked(plain(type(error).__name__))
    if isinstance(error, errors.OnerefreshError):
        own = is_ours(error)
        kind = next((_OURS[base] for base in type(error).__mro__ if base in _OURS), FailureKind.REFRESHER)
        if kind is FailureKind.REFRESHER or error.credential is not None:
            # Another credential that the refresher uses raised it: it says nothing about the token of this one.
            message = Verdict(FailureKind.REFRESHER, str(error)).vetted(hidden, ours=own).detail
            return Verdict(FailureKind.REFRESHER, f"the refresher raised {name}: {message}")
        asked = as_seconds(getattr(error, "retry_after", None))
        retry_after = None if asked is None else pause_of(asked)
        verdict = Verdict(kind, error.message, retry_after, getattr(error, "challenge", None))
        if isinstance(error, errors.LoginRequired) and not error.proven:
            verdict = Verdict(FailureKind.DOUBTFUL, error.message.removesuffix(f": {EITHER}"))
        return verdict.vetted(hidden, ours=own)
    reasons = _with_reasons(error)
    names = {name for reason in reasons for name in _names(reason)}
    if names & _NOT_SENT:
        return Verdict(FailureKind.UNAVAILABLE, f"the token endpoint could not be reached ({name})")
    if "aiohttp.ClientResponseError" in names and error.__cause__ is not None:
        return Verdict(FailureKind.NO_ANSWER, f"the token endpoint's answer could not be read ({name})")
    answered = _response_of(error)
    if answered is not None:
        return judge_answer(*answered, hidden=hidden)
    code = getattr(error, "error", None)
    if isinstance(code, str) and code in BY_CODE and not names & _OF_THE_ACCESS_TOKEN:
        return Verdict(BY_CODE[code], f"the token endpoint answered {code!r} ({name})")
    if names & _LOST:
        return Verdict(FailureKind.NO_ANSWER, f"the token request was sent and its answer was lost ({name})")
    return Verdict(FailureKind.REFRESHER, f"the refresher raised {name}")


_OURS: Mapping[type, FailureKind] = {error: kind for kind, error in ERRORS.items()} | {
    errors.InteractionRequired: FailureKind.INTERACTION,
    errors.RefreshUnavailable: FailureKind.UNAVAILABLE,
}


def _qualified(names: Mapping[str, str]) -> frozenset[str]:
    return frozenset(f"{package}.{name}" for package, listed in names.items() for name in listed.split())


# By name, so that no client is imported: "root package.Class" of the exception, its ancestors and what it wraps.
_NOT_SENT = _qualified(
    {
        "httpx": "ConnectError ConnectTimeout PoolTimeout UnsupportedProtocol ProxyError",
        "httpx2": "ConnectError ConnectTimeout PoolTimeout UnsupportedProtocol ProxyError",
        "requests": "ConnectTimeout ProxyError",
        "urllib3": "NewConnectionError ConnectTimeoutError NameResolutionError ProxyError",
        "aiohttp": "ClientConnectorError ConnectionTimeoutError ClientHttpProxyError",
        "socket": "gaierror",
        "ssl": "SSLCertVerificationError",
        "builtins": "ConnectionRefusedError",
    }
)
_LOST = _qualified(
    {
        "httpx": "TransportError DecodingError",
        "httpx2": "TransportError DecodingError",
        "requests": "Timeout ConnectionError ChunkedEncodingError ContentDecodingError",
        "urllib3": "TimeoutError ProtocolError SSLError DecodeError",
        "aiohttp": "ClientConnectionError ClientPayloadError",
        "http": "HTTPException",
        "ssl": "SSLError",
        "builtins": "ConnectionError TimeoutError",
    }
)

# Raised before anything is sent, when a session is to make a request with an access token that has expired.
_OF_THE_ACCESS_TOKEN = _qualified({"oauthlib": "TokenExpiredError"})


def _names(error: BaseException) -> list[str]:
    """``package.Class`` of the exception's class and of its ancestors, nearest first."""
    return [f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__]


def _with_reasons(error: BaseException) -> list[BaseException]:
    """The exception and those that it wraps: requests and urllib3 keep them in `args`, urllib in `reason`."""
    found = [error]
    for outer in found:
        inner = [*outer.args, getattr(outer, "reason", None)]
        found += [reason for reason in inner if isinstance(reason, BaseException) and id(reason) not in map(id, found)]
    return found


def _response_of(error: BaseException) -> tuple[int, bytes | None, Mapping[str, str]] | None:
    """Status, body and headers of the HTTP response that the exception carries; None where it carries none."""
    names = _names(error)
    if "urllib.HTTPError" in names:
        headers = _texts(getattr(error, "headers", None))
        return int(getattr(error, "code", 0)), _rest_of_body(error, headers), headers
    if "aiohttp.ClientResponseError" in names:
        return int(getattr(error, "status", 0)), None, _texts(getattr(error, "headers", None))
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if not isinstance(status, int):
        return None
    return status, _kept_body(response), _texts(getattr(response, "headers", None))


def _texts(headers: object) -> Mapping[str, str]:
    items: Callable[[], Iterable[tuple[object, object]]] = getattr(headers, "items", dict[object, object]().items)
    return {str(name): str(value) for name, value in items()}


def _rest_of_body(error: BaseException, headers: Mapping[str, str]) -> bytes | None:
    """What is still to be read of an answer; None where it has been read before."""
    from http.client import HTTPException

    try:
        content = getattr(error, "read", bytes)()
    except (OSError, ValueError, HTTPException):
        return None  # the status alone decides
    return content if content or header(headers, "content-length") == "0" else None


def _kept_body(response: object) -> bytes | None:
    try:
        content = getattr(response, "content", None)
    except (OSError, RuntimeError):  # a streamed body that was not read: the status alone decides
        return None
    return content if isinstance(content, bytes) else None
