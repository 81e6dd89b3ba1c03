"""Revoking a token at the server (RFC 7009), and what its answer says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onerefresh.errors import ConfigurationError
from onerefresh.judge_answer import judge_answer
from onerefresh.judge_exception import judge_exception
from onerefresh.oauth2.client_auth import Identification
from onerefresh.oauth2.codec import TokenRequest, TokenResponse, build_revocation
from onerefresh.redaction import Redactor
from onerefresh.secret import Secret
from onerefresh.token import Token
from onerefresh.verdict import RefreshFailure, Verdict

__all__ = ["confirmed", "revoke"]


def revoke(
    token: Token,
    url: str,
    send: Callable[[TokenRequest], TokenResponse],
    identification: Identification,
    *,
    renamed: Mapping[str, str],
    timeout: float,
    hidden: Redactor,
) -> None:
    """Revoke the refresh token, and with it what was issued for it; the access token where there is no refresh token.

    Raises `RefreshFailure` where the server did not confirm it (section 2.2), in words that `hidden` has checked.
    """
    hint, secret = "refresh_token", token.refresh_token
    if secret is None:
        beside = token.extra.get("access_token")  # where another field of the answer is sent to the API
        hint, secret = "access_token", Secret(beside) if isinstance(beside, str) and beside else token.access_token
    request = build_revocation(url, identification, secret, hint, renamed=renamed, timeout=timeout, hidden=hidden)
    confirmed(request, send, "revocation endpoint")


def confirmed(request: TokenRequest, send: Callable[[TokenRequest], TokenResponse], what: str) -> None:
    """Send a request that ends a session. Raises `RefreshFailure` where `what`, the server, does not confirm it."""
    try:
        response = send(request)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a sender may raise anything; the verdict says what it means
        verdict = judge_exception(error, hidden=request.hidden)
    else:
        if 200 <= response.status < 300:
            return
        verdict = judge_answer(response.status, response.body, response.headers, hidden=request.hidden)
    # Raised here, so that nothing refers to the sender's exception, which may hold a part of the request.
    message = verdict.detail.replace("token endpoint", what).replace("token request", "request")
    raise RefreshFailure(Verdict(verdict.kind, message, repeatable=False))
