"""What a token endpoint's failure means.

An answer is judged by its OAuth ``error`` (RFC 6749 section 5.2), then by its HTTP status; an exception by the
answer that it carries, else by its kind. Rules only: nothing here sends or waits.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from onerefresh import errors
from onerefresh.answers import as_seconds, loss_in
from onerefresh.bodies import (
    claims_of,
    description_of,
    error_code,
    header,
    is_cut_short,
    is_html,
    parse_retry_after,
    parsed,
    pause_of,
    place_of,
)
from onerefresh.redaction import LEFT_OUT, LONGEST_CHALLENGE, Redactor, is_ours, plain
from onerefresh.token import Secret, refresh_token_beside, secrets_in

__all__ = ["FailureKind", "RefreshFailure", "Verdict", "judge_answer", "judge_exception", "with_rest"]


class FailureKind(enum.Enum):
    """What a failure says about the refresh token, and so what may be done next."""

    DEAD = "dead"  # the session is over, unless somebody else spent this refresh token
    DOUBTFUL = "doubtful"  # refused: the session may be over, or the client or the function may be wrong
    CLIENT_REJECTED = "client_rejected"
    REQUEST_REJECTED = "request_rejected"
    INTERACTION = "interaction"
    CONFIGURATION = "configuration"  # the refresher cannot work as it was set up: nothing was sent
    UNAVAILABLE = "unavailable"  # surely not processed
    SERVER_ERROR = "server_error"  # answered 5xx: it may have rotated
    NO_ANSWER = "no_answer"  # sent, and the answer is lost or unreadable
    PROTOCOL = "protocol"  # answered 2xx without a usable token: it may have rotated
    UNUSABLE = "unusable"  # answered 2xx with a refresh token, which is kept, and an access token that is of no use
    REFRESHER = "refresher"  # the refresher's own exception: whether it sent is not known

    @property
    def is_lost(self) -> bool:
        """Whether there was an answer, as likely as not, that nobody has: sending again is for the profile to say."""
        return self in (FailureKind.NO_ANSWER, FailureKind.PROTOCOL)

    @property
    def may_have_spent(self) -> bool:
        """Whether the refresh token may have been used up."""
        return self in _MAY_HAVE_SPENT

    @property
    def of_the_client(self) -> bool:
        """Whether it is the fault of one client, of which another one may be free."""
        return self in _OF_THE_CLIENT


EITHER = "the session is over, or this client or function is wrong: log in again, or correct it and call retry()"
"""What a doubtful refusal means, and what to do about it."""
LONGEST_WORDS = 500
"""So many characters of what a refresher says itself are kept."""
_MAY_HAVE_SPENT = frozenset(
    {FailureKind.SERVER_ERROR, FailureKind.NO_ANSWER, FailureKind.PROTOCOL, FailureKind.REFRESHER}
)
_ENDS = frozenset({FailureKind.DEAD, FailureKind.DOUBTFUL})
_OF_THE_CLIENT = frozenset({FailureKind.CLIENT_REJECTED, FailureKind.REQUEST_REJECTED, FailureKind.CONFIGURATION})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judged failure. `detail` is safe to show: what it quotes of an answer has gone through a `Redactor`.
    `retry_after`: seconds. `repeatable`: False where the same request cannot be sent once more, because what carried
    it is gone. `kept`: the refresh token of an answer that is of no use otherwise.
    """

    kind: FailureKind
    detail: str
    retry_after: float | None = None
    challenge: str | None = None
    repeatable: bool = True
    kept: Secret | None = field(default=None, repr=False, compare=False)

    def vetted(self, redactor: Redactor, *, ours: bool) -> Verdict:
        """The same as it may be shown; `ours`: this library wrote it, though it may quote others."""
        detail = redactor.masked(self.detail) if ours else redactor.quote(self.detail, LONGEST_WORDS) or LEFT_OUT
        challenge = redactor.whole(self.challenge, LONGEST_CHALLENGE)
        same = (detail, challenge) == (self.detail, self.challenge)
        return self if same else replace(self, detail=detail, challenge=challenge)

    def error(self) -> errors.OnerefreshError:
        """The exception that says so to the callers."""
        if self.kind is FailureKind.DOUBTFUL:
            return errors.LoginRequired(f"{self.detail}: {EITHER}", proven=False)
        if self.kind is FailureKind.INTERACTION:
            return errors.InteractionRequired(self.detail, challenge=self.challenge)
        if self.kind in (FailureKind.UNAVAILABLE, FailureKind.SERVER_ERROR):
            return errors.RefreshUnavailable(self.detail, retry_after=self.retry_after)
        return _ERRORS[self.kind](self.detail)


_ERRORS: Mapping[FailureKind, type[errors.OnerefreshError]] = {
    FailureKind.DEAD: errors.LoginRequired,
    FailureKind.CLIENT_REJECTED: errors.ClientRejected,
    FailureKind.REQUEST_REJECTED: errors.RequestRejected,
    FailureKind.CONFIGURATION: errors.ConfigurationError,
    FailureKind.NO_ANSWER: errors.RefreshOutcomeUnknown,
    FailureKind.UNUSABLE: errors.RefreshProtocolError,  # first: who raises it means the next one
    FailureKind.PROTOCOL: errors.RefreshProtocolError,
    FailureKind.REFRESHER: errors.RefresherFailed,
}


class RefreshFailure(Exception):
    """A refresher's failure, judged. Refreshers of this library raise it; for others `judge_exception` makes one."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.detail)
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[RefreshFailure], tuple[Verdict]]:
        return (type(self), (replace(self.verdict, kept=None),))  # a secret is not pickled


# RFC 6749 section 5.2, RFC 6750, RFC 8628, RFC 8707, RFC 9470, OpenID Connect, and what large providers add.
_CODES: Mapping[FailureKind, str] = {
    FailureKind.DEAD: """
        invalid_grant token_not_valid invalid_refresh_token bad_refresh_token expired_token token_expired
        token_revoked refresh_token_not_found refresh_token_already_used session_not_found session_expired
    """,
    # RFC 6750 section 3.1 says `invalid_token` of an access token, which a gateway before a JSON endpoint may want.
    # Cognito's word is one for a refresh token that has expired and for a wrong client secret.
    FailureKind.DOUBTFUL: "invalid_token notauthorizedexception",
    FailureKind.CLIENT_REJECTED: """
        invalid_client unauthorized_client invalid_client_id bad_client_secret invalid_client_credentials
        incorrect_client_credentials deleted_client disabled_client
    """,
    FailureKind.REQUEST_REJECTED: """
        invalid_request invalid_scope invalid_target unsupported_grant_type access_denied invalid_dpop_proof
    """,
    FailureKind.INTERACTION: """
        interaction_required login_required consent_required account_selection_required mfa_required
        insufficient_user_authentication unmet_authentication_requirements
    """,
    FailureKind.UNAVAILABLE: """
        temporarily_unavailable slow_down rate_limit_exceeded ratelimited rate_limited too_many_requests
        over_request_rate_limit
    """,
    FailureKind.SERVER_ERROR: "server_error internal_server_error internal_error",
}
_BY_CODE = {code: kind for kind, codes in _CODES.items() for code in codes.split()}
NOTHING_KNOWN = Redactor()
_NOT_PROCESSED = frozenset({408, 425, 429, 503})
_GATEWAY_GAVE_UP = frozenset({504, 524, 598})
_WRONG_ADDRESS = frozenset({404, 405, 410, 411, 413, 414, 415, 426, 431})


def judge_answer(
    status: int,
    body: bytes | str | Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    hidden: Redactor = NOTHING_KNOWN,
) -> Verdict:
    """What an answer of the token endpoint that brought no token means.

    `body`: JSON or not; None where the HTTP client did not keep it. `headers` are looked up without regard to case.
    `hidden` knows the secrets of the request; where it knows all of them, the ``error_description`` is quoted too.

    401 and 400 without a known code are doubtful: plain JSON APIs say so that a session is over, and others, by the
    book or not, that the client's secret is wrong or a header is missing.
    """
    answer = parsed(body)
    hidden = hidden.knowing(secrets_in(answer))
    code = error_code(answer)
    retry_after = parse_retry_after(header(headers, "retry-after"))
    if status in _NOT_PROCESSED:
        kind, hint = FailureKind.UNAVAILABLE, ""
    elif (known := _BY_CODE.get(code.lower())) is not None and not (known in _ENDS and status >= 500):
        kind, hint = known, ""  # a server in trouble proves nothing
    else:
        kind, hint = _by_status(status, body, answer, headers, hidden)
    message = f"the token endpoint answered {status}"
    if code and (quoted := hidden.masked(code) if code.lower() in _BY_CODE else hidden.quote(code)):
        message += f" {quoted!r}"
    if hidden.is_complete and (description := hidden.quote(description_of(answer))):
        message += f" ({description})"
    asked = hidden.whole(claims_of(answer), LONGEST_CHALLENGE) if kind is FailureKind.INTERACTION else None
    return Verdict(kind, message + hint, retry_after, asked)


def _by_status(
    status: int, body: object, answer: object, headers: Mapping[str, str] | None, hidden: Redactor
) -> tuple[FailureKind, str]:
    """What the status means where the error code says nothing, and what to tell about it."""
    if status in _GATEWAY_GAVE_UP:
        return FailureKind.NO_ANSWER, ": a gateway waited for the answer in vain"
    if status >= 500:
        return FailureKind.SERVER_ERROR, ""
    if status < 200:
        return FailureKind.NO_ANSWER, ", which is no answer yet"
    html = is_html(body, headers)
    if 200 <= status < 300:
        if html:
            return FailureKind.NO_ANSWER, " with a page of HTML in place of a token"
        if answer is None and is_cut_short(body, headers):
            return FailureKind.NO_ANSWER, " with an answer that is cut short"
        return FailureKind.PROTOCOL, " without a usable access token"
    if 300 <= status < 400:
        place = hidden.quote(place_of(header(headers, "location")))
        leads = f" and points to {place}" if place else ""
        return (
            FailureKind.REQUEST_REJECTED,
            f"{leads}; a token request follows no redirect: correct the token endpoint URL",
        )
    if status in _WRONG_ADDRESS:
        return FailureKind.REQUEST_REJECTED, "; is the token endpoint URL right?"
    if html:
        return FailureKind.UNAVAILABLE, " with a page of HTML, as gateways do"
    if status in (400, 401):
        if body is None:
            return FailureKind.DOUBTFUL, ", and the refresher did not read the body, where the reason may stand"
        return FailureKind.DOUBTFUL, " with an empty body" if body in (b"", "") else ""
    return FailureKind.REQUEST_REJECTED, ""


def with_rest(verdict: Verdict, answer: object) -> Verdict:
    """The verdict on an answer that brought no usable access token, with what becomes of its refresh token."""
    if verdict.kind is not FailureKind.PROTOCOL:
        return verdict
    kept = refresh_token_beside(answer)
    if kept is None:
        return replace(verdict, detail=verdict.detail + loss_in(answer))
    return replace(verdict, kind=FailureKind.UNUSABLE, kept=kept)


def judge_exception(error: BaseException, *, hidden: Redactor = NOTHING_KNOWN) -> Verdict:
    """What an exception of a user's refresher or sender means; `hidden` as for `judge_answer`.

    An exception that carries an HTTP response is judged by the response, one that carries an OAuth ``error`` code
    by the code. Of the connection errors of httpx, httpx2, requests, urllib3, aiohttp and the standard library those
    that surely happened before the request was sent are told from the others. Anything else is the refresher's own.
    """
    if isinstance(error, RefreshFailure):
        return error.verdict.vetted(hidden, ours=is_ours(error))
    name = hidden.masked(plain(type(error).__name__))
    if isinstance(error, errors.OnerefreshError):
        own = is_ours(error)
        kind = next((_OURS[base] for base in type(error).__mro__ if base in _OURS), FailureKind.REFRESHER)
        if kind is FailureKind.REFRESHER or error.credential is not None:
            # Said by another credential that the refresher uses: it tells nothing about the token of this one.
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
    if isinstance(code, str) and code in _BY_CODE and not names & _OF_THE_ACCESS_TOKEN:
        return Verdict(_BY_CODE[code], f"the token endpoint answered {code!r} ({name})")
    if names & _LOST:
        return Verdict(FailureKind.NO_ANSWER, f"the token request was sent and its answer was lost ({name})")
    return Verdict(FailureKind.REFRESHER, f"the refresher raised {name}")


_OURS: Mapping[type, FailureKind] = {error: kind for kind, error in _ERRORS.items()} | {
    errors.InteractionRequired: FailureKind.INTERACTION,
    errors.RefreshUnavailable: FailureKind.UNAVAILABLE,
}


def _qualified(names: Mapping[str, str]) -> frozenset[str]:
    return frozenset(f"{package}.{name}" for package, listed in names.items() for name in listed.split())


# Told by name, so that no client is imported: "root package.Class" of the exception, its ancestors and what it wraps.
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

# Raised before anything is sent, where a session is asked for a request with an access token that has expired.
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
    """What is still to be read of an answer; None where somebody has read it before."""
    from http.client import HTTPException

    try:
        content = getattr(error, "read", bytes)()
    except (OSError, ValueError, HTTPException):
        return None  # the status alone decides
    return content if content or header(headers, "content-length") == "0" else None


def _kept_body(response: object) -> bytes | None:
    try:
        content = getattr(response, "content", None)
    except (OSError, RuntimeError):  # a streamed body that nobody read: the status alone decides
        return None
    return content if isinstance(content, bytes) else None
