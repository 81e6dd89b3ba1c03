"""Client authentication at the token endpoint (RFC 6749 section 2.3.1)."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_plus

from onerefresh.testing.settings import Settings


@dataclass(frozen=True, slots=True)
class AuthProblem:
    """Why a client was rejected: `invalid_client` or `invalid_request`."""

    error: str
    description: str


def authenticate(settings: Settings, authorization: str | None, parameters: Mapping[str, str]) -> AuthProblem | None:
    """None where the request comes from the registered client, else what is wrong."""
    body_id, body_secret = parameters.get("client_id"), parameters.get("client_secret")
    if authorization is not None:
        if body_secret is not None:
            return AuthProblem("invalid_request", "the client uses two ways of authentication at once")
        credentials = decode_basic(authorization)
        if credentials is None:
            return AuthProblem("invalid_client", "the Authorization header is not valid Basic authentication")
        client_id, secret = credentials
        if body_id is not None and body_id != client_id:
            return AuthProblem("invalid_request", "client_id differs from the authenticated client")
        method = "client_secret_basic"
    elif body_id is None:
        return AuthProblem("invalid_client", "no client authentication was included")
    elif body_secret is not None:
        client_id, secret, method = body_id, body_secret, "client_secret_post"
    else:
        client_id, secret, method = body_id, None, "none"
    if settings.client_secret is None:
        accepted = method == "none" or secret == ""
    else:
        accepted = method == settings.client_auth or (settings.client_auth == "any" and method != "none")
    if not accepted:
        return AuthProblem("invalid_client", f"client authentication by {method} is not accepted")
    if not _same(client_id, settings.client_id) or not _same(secret or "", settings.client_secret or ""):
        return AuthProblem("invalid_client", "client id or secret is wrong")
    return None


def decode_basic(authorization: str) -> tuple[str, str] | None:
    """Id and secret of a Basic header, both form-decoded (RFC 6749 section 2.3.1 and appendix B)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("ascii")
        client_id, colon, secret = text.partition(":")
        if not colon or ":" in secret:
            return None
        return unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except (binascii.Error, UnicodeDecodeError):
        return None


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
