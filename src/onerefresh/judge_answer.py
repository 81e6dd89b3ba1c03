"""What an answer of the token endpoint means that brought no token.

It is judged by its OAuth ``error`` (RFC 6749 section 5.2), then by its HTTP status. These are rules only: nothing here
sends or waits.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace

from onerefresh.answers import loss_in
from onerefresh.bodies import (
    claims_of,
    code_number,
    description_of,
    error_code,
    header,
    is_cut_short,
    is_html,
    parse_retry_after,
    parsed,
    place_of,
)
from onerefresh.expiry import skew_by_date, worth_it
from onerefresh.redaction import LONGEST_CHALLENGE, NOTHING_KNOWN, Redactor
from onerefresh.secret import secrets_in
from onerefresh.token import Token
from onerefresh.token_response import refresh_token_beside
from onerefresh.verdict import FailureKind, Verdict
from onerefresh.whose import NOBODY, whose

__all__ = ["BY_CODE", "judge_answer", "with_rest"]

# RFC 6749 section 5.2, RFC 6750, RFC 8628, RFC 8707, RFC 9470, OpenID Connect, and what large providers add.
_CODES: Mapping[FailureKind, str] = {
    FailureKind.DEAD: """
        invalid_grant token_not_valid invalid_refresh_token bad_refresh_token expired_token token_expired
        token_revoked refresh_token_not_found refresh_token_already_used refresh_token_expired refresh_token_revoked
        session_not_found session_expired
    """,
    # RFC 6750 section 3.1 uses `invalid_token` for access tokens, which a gateway before a JSON endpoint may demand.
    # Cognito uses one code both for a refresh token that has expired and for a wrong client secret.
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
BY_CODE = {code: kind for kind, codes in _CODES.items() for code in codes.split()}
_ENDS = frozenset({FailureKind.DEAD, FailureKind.DOUBTFUL})
_NOT_PROCESSED = frozenset({408, 425, 429, 503})
_GATEWAY_GAVE_UP = frozenset({504, 524, 598})
_WRONG_ADDRESS = frozenset({404, 405, 410, 411, 413, 414, 415, 426, 431})


def judge_answer(
    status: int,
    body: bytes | str | Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    hidden: Redactor = NOTHING_KNOWN,
    ruled: FailureKind | None = None,
) -> Verdict:
    """The verdict on an answer of the token endpoint that brought no token.

    `body`: JSON or not; None where the HTTP client did not keep it. `headers`: looked up without regard to case.
    `hidden`: knows the secrets of the request; where it knows all of them, the server's description is quoted, too.
    `ruled`: what a rule of the user's says about this answer.

    401 and 400 without a known code are doubtful: with them plain JSON APIs say that a session is over, and others,
    with or without the standard, that the client's secret is wrong or a header is missing.
    """
    answer = parsed(body)
    hidden = hidden.knowing(secrets_in(answer))
    code = error_code(answer)
    retry_after = parse_retry_after(header(headers, "retry-after"), _now_there(headers))
    if ruled is not None:
        kind, hint = ruled, ""
    elif status in _NOT_PROCESSED:
        kind, hint = FailureKind.UNAVAILABLE, ""
    elif (known := _kind_of(code)) is not None and not (known in _ENDS and status >= 500):
        kind, hint = known, ""  # a server in trouble proves nothing
    else:
        kind, hint = _by_status(status, body, answer, headers, hidden)
    message = f"the token endpoint answered {status}"
    if code and (quoted := hidden.masked(code) if _kind_of(code) is not None else hidden.quote(code)):
        message += f" {quoted!r}"
    elif not code and (number := code_number(answer, status)) is not None and (quoted := hidden.quote(str(number))):
        message += f", code {quoted}"
    words = description_of(answer)
    if hidden.is_complete and words != code and (description := hidden.quote(words)):
        message += f" ({description})"
    asked = hidden.whole(claims_of(answer), LONGEST_CHALLENGE) if kind is FailureKind.INTERACTION else None
    return Verdict(kind, message + hint, retry_after, asked, status=status)


def _kind_of(code: str) -> FailureKind | None:
    """What a known code means, also where it is spelled ``invalidGrant`` or ``invalid-grant``."""
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|-", "_", code).lower()
    return BY_CODE.get(code.lower(), BY_CODE.get(spelled))


def _now_there(headers: Mapping[str, str] | None) -> float:
    """Seconds since the epoch by the server's clock, as far as the answer shows it: a date to wait for is by that one.

    On a machine whose clock is behind, a pause of a minute would last for an hour.
    """
    now = time.time()
    return now - worth_it(skew_by_date(header(headers, "date"), header(headers, "age"), now, now) or 0.0)


def _by_status(
    status: int, body: object, answer: object, headers: Mapping[str, str] | None, hidden: Redactor
) -> tuple[FailureKind, str]:
    """What the status means where the error code says nothing, and an addition to the message."""
    if status in _GATEWAY_GAVE_UP:
        return FailureKind.NO_ANSWER, ": a gateway got no answer in time"
    if status >= 500:
        return FailureKind.SERVER_ERROR, ""
    if status < 200:
        return FailureKind.NO_ANSWER, ", which is not a final answer"
    html = is_html(body, headers)
    if 200 <= status < 300:
        if html:
            return FailureKind.NO_ANSWER, " with an HTML page instead of a token"
        if answer is None and status != 204 and is_cut_short(body, headers):
            return FailureKind.NO_ANSWER, " with an incomplete answer"
        return FailureKind.PROTOCOL, " without a usable access token"
    if 300 <= status < 400:
        place = hidden.quote(place_of(header(headers, "location")))
        leads = f" and points to {place}" if place else ""
        return (
            FailureKind.REQUEST_REJECTED,
            f"{leads}; redirects are not followed for token requests: correct the token endpoint URL",
        )
    if status in _WRONG_ADDRESS:
        return FailureKind.REQUEST_REJECTED, "; check the token endpoint URL"
    if html:
        return FailureKind.UNAVAILABLE, " with an HTML page, as gateways do"
    if status in (400, 401):
        if body is None:
            return FailureKind.DOUBTFUL, ", and the refresher did not read the body, which may contain the reason"
        return FailureKind.DOUBTFUL, " with an empty body" if body in (b"", "") else ""
    return FailureKind.REQUEST_REJECTED, ""


def with_rest(verdict: Verdict, answer: object) -> Verdict:
    """The verdict on an answer without a usable access token, with what becomes of its refresh token.

    `answer`: None where its status says that no token was issued.
    """
    if not verdict.kind.is_lost:
        return verdict
    kept = refresh_token_beside(answer)
    if kept is None:
        return replace(verdict, detail=verdict.detail + loss_in(answer))
    found = (
        answer.whose if isinstance(answer, Token) else whose(None, answer) if isinstance(answer, Mapping) else NOBODY
    )
    return replace(verdict, kind=FailureKind.UNUSABLE, kept=kept, whose=found)
