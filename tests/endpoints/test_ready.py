"""The ready endpoints: what each sends, and what the answers of its server mean.

SimpleJWT, flask-jwt-extended, Synapse and PocketBase are run in `tests/jsonservers`. The answers of the other two are
recorded shapes: those of Directus come from Directus 11.3, which takes three minutes to install; those of Supabase come
from the documentation of its Auth server, of which there is no package.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from onerefresh import ConfigurationError, Credential, LoginRequired, Secret, Token
from onerefresh.endpoints import (
    JsonEndpoint,
    directus,
    flask_jwt_extended,
    matrix,
    pocketbase,
    simplejwt,
    supabase,
)
from onerefresh.endpoints.ready import READY
from onerefresh.oauth2 import TokenRequest, TokenResponse
from onerefresh.verdict import FailureKind, RefreshFailure

DEAD, DOUBTFUL, BUSY = FailureKind.DEAD, FailureKind.DOUBTFUL, FailureKind.UNAVAILABLE
REJECTED = FailureKind.REQUEST_REJECTED
TOKEN = Token("access-0123456789", "refresh-0123456789")
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJjc3JmIjoiY3NyZi0wMTIzNDU2Nzg5IiwidHlwZSI6InJlZnJlc2gifQ.AAAA"
"""With the claim ``csrf``, which is csrf-0123456789."""


def exchanged(
    ready: Callable[..., JsonEndpoint], status: int, body: object, *cookies: str, token: Token = TOKEN, **settings: Any
) -> tuple[TokenRequest, Token | RefreshFailure]:
    """The request, and what becomes of the answer."""
    requests: list[TokenRequest] = []

    def send(request: TokenRequest) -> TokenResponse:
        requests.append(request)
        return TokenResponse(status, {"content-type": "application/json"}, json.dumps(body).encode(), cookies)

    try:
        found: Token | RefreshFailure = ready("https://api.acme.com", send=send, **settings)(token)
    except RefreshFailure as error:
        found = error
    [request] = requests
    return request, found


def request_of(ready: Callable[..., JsonEndpoint], body: object, *cookies: str, **settings: Any) -> TokenRequest:
    return exchanged(ready, 200, body, *cookies, **settings)[0]


DIRECTUS = {"data": {"expires": 900_000, "refresh_token": "next", "access_token": "new"}}
SUPABASE = {
    "access_token": "new",
    "token_type": "bearer",
    "expires_in": 3600,
    "expires_at": 4_000_000_000,
    "refresh_token": "next",
    "user": {"id": "11111111-1111-1111-1111-111111111111", "aud": "authenticated"},
}
SYNAPSE = {"access_token": "new", "refresh_token": "next", "expires_in_ms": 3_600_000}


def directus_error(code: str, message: str = "…") -> dict[str, object]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


def test_the_requests() -> None:
    request = request_of(directus, DIRECTUS)
    assert request.url == "https://api.acme.com/auth/refresh"
    assert json.loads(request.body) == {"refresh_token": "refresh-0123456789", "mode": "json"}

    request = request_of(pocketbase, {"token": "new"})
    assert request.url == "https://api.acme.com/api/collections/users/auth-refresh"
    assert (request.headers["Authorization"], request.body) == ("access-0123456789", b"")

    request = request_of(matrix, SYNAPSE)
    assert request.url == "https://api.acme.com/_matrix/client/v3/refresh"
    assert json.loads(request.body) == {"refresh_token": "refresh-0123456789"}

    request = request_of(simplejwt, {"access": "new"})
    assert request.url == "https://api.acme.com/api/token/refresh/"
    assert json.loads(request.body) == {"refresh": "refresh-0123456789"}

    request = request_of(flask_jwt_extended, {"access_token": "new"})
    assert request.url == "https://api.acme.com/refresh"
    assert (request.headers["Authorization"], request.body) == ("Bearer refresh-0123456789", b"")

    token = Token("access-0123456789", JWT)
    request = request_of(flask_jwt_extended, {}, "access_token_cookie=new", cookies=True, token=token)
    assert request.headers["Cookie"] == f"refresh_token_cookie={JWT}"
    assert (request.headers["X-CSRF-TOKEN"], "Authorization" in request.headers) == ("csrf-0123456789", False)

    request = request_of(supabase, SUPABASE, api_key="key-0123456789", headers={"X-Client": "one"})
    assert request.url == "https://api.acme.com/auth/v1/token?grant_type=refresh_token"
    assert json.loads(request.body) == {"refresh_token": "refresh-0123456789"}
    assert (request.headers["apikey"], request.headers["X-Client"]) == ("key-0123456789", "one")
    assert "apikey" not in request_of(supabase, SUPABASE).headers


@pytest.mark.parametrize(
    ("ready", "body", "refresh", "seconds"),
    [
        (directus, DIRECTUS, "next", 900),
        (pocketbase, {"token": "new", "record": {"id": "x"}}, None, None),
        (matrix, SYNAPSE, "next", 3600),
        (matrix, {"access_token": "new"}, None, None),
        (simplejwt, {"access": "new", "refresh": "next"}, "next", None),
        (simplejwt, {"access": "new"}, None, None),
        (flask_jwt_extended, {"access_token": "new"}, None, None),
        (supabase, SUPABASE, "next", 3600),
    ],
)
def test_the_answers(
    ready: Callable[..., JsonEndpoint], body: object, refresh: str | None, seconds: int | None
) -> None:
    _, token = exchanged(ready, 200, body)
    assert isinstance(token, Token)
    assert (token.reveal(), token.refresh_token) == ("new", None if refresh is None else Secret(refresh))
    if seconds is None:
        assert token.expires_at is None
    else:
        assert token.expires_at is not None
        assert seconds - 2 < token.expires_at - time.time() <= seconds


NEEDS_TOKEN = "The request requires valid record authorization token"


def pocketbase_error(message: str) -> dict[str, object]:
    return {"status": 401, "message": message, "data": {}}


@pytest.mark.parametrize(
    ("ready", "status", "body", "kind"),
    [
        (directus, 401, directus_error("INVALID_CREDENTIALS", "Invalid user credentials."), DEAD),
        (directus, 401, directus_error("USER_SUSPENDED", "User suspended."), DOUBTFUL),
        (directus, 400, directus_error("INVALID_PAYLOAD"), DOUBTFUL),
        (directus, 429, directus_error("REQUESTS_EXCEEDED"), BUSY),
        (directus, 503, directus_error("SERVICE_UNAVAILABLE"), BUSY),
        (pocketbase, 401, pocketbase_error(f"{NEEDS_TOKEN}."), DEAD),
        (pocketbase, 401, {"code": 401, "message": f"{NEEDS_TOKEN} to be set.", "data": {}}, DEAD),  # before 0.23
        (pocketbase, 401, {"message": "Unauthorized"}, DOUBTFUL),  # a gateway before it
        (pocketbase, 401, "", DOUBTFUL),
        (pocketbase, 403, {"status": 403, "message": "The request requires auth record …", "data": {}}, REJECTED),
        (pocketbase, 404, {"status": 404, "message": "Missing or invalid collection context.", "data": {}}, REJECTED),
        (pocketbase, 429, {"status": 429, "message": "Too Many Requests.", "data": {}}, BUSY),
        (matrix, 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "refresh token does not exist"}, DEAD),
        (matrix, 401, {"errcode": "M_UNKNOWN_TOKEN", "error": "…", "soft_logout": True}, DEAD),
        (matrix, 403, {"errcode": "M_FORBIDDEN", "error": "refresh token isn't valid anymore"}, DEAD),
        (matrix, 403, {"errcode": "M_USER_DEACTIVATED", "error": "…"}, DOUBTFUL),
        (matrix, 429, {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": 2000}, BUSY),
        (matrix, 404, {"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}, REJECTED),
        (simplejwt, 401, {"detail": "Token is invalid or expired", "code": "token_not_valid"}, DEAD),
        (simplejwt, 401, {"detail": "No active account found …", "code": "no_active_account"}, DEAD),
        (simplejwt, 400, {"refresh": ["This field may not be blank."]}, DOUBTFUL),
        (simplejwt, 429, {"detail": "Request was throttled."}, BUSY),
        (flask_jwt_extended, 401, {"msg": "Token has expired"}, DEAD),
        (flask_jwt_extended, 401, {"msg": "Token has been revoked"}, DEAD),
        (flask_jwt_extended, 401, {"msg": "Error loading the user ada"}, DEAD),
        (flask_jwt_extended, 401, {"msg": "Missing Authorization Header"}, DOUBTFUL),
        (flask_jwt_extended, 401, {"msg": "CSRF double submit tokens do not match"}, DOUBTFUL),
        (flask_jwt_extended, 422, {"msg": "Signature verification failed"}, DOUBTFUL),
        (flask_jwt_extended, 422, {"msg": "Only refresh tokens are allowed"}, REJECTED),
        (supabase, 400, {"code": 400, "error_code": "refresh_token_not_found", "msg": "Invalid Refresh Token"}, DEAD),
        (supabase, 400, {"code": "refresh_token_already_used", "message": "Invalid Refresh Token"}, DEAD),
        (supabase, 400, {"error": "invalid_grant", "error_description": "Invalid Refresh Token"}, DEAD),
        (supabase, 403, {"code": 403, "error_code": "session_not_found", "msg": "…"}, DEAD),
        (supabase, 400, {"code": 400, "error_code": "user_banned", "msg": "User is banned"}, DOUBTFUL),
        (supabase, 401, {"message": "Invalid API key", "hint": "…"}, DOUBTFUL),
        (supabase, 429, {"code": 429, "error_code": "over_request_rate_limit", "msg": "…"}, BUSY),
    ],
)
def test_the_refusals(ready: Callable[..., JsonEndpoint], status: int, body: object, kind: FailureKind) -> None:
    _, found = exchanged(ready, status, body)
    assert isinstance(found, RefreshFailure)
    assert found.verdict.kind is kind


@pytest.mark.parametrize("ready", [directus, supabase])
def test_a_storm_with_rotation_and_the_end_of_a_session(ready: Callable[..., JsonEndpoint]) -> None:
    """The recorded shapes, answered by a server that accepts each refresh token once."""
    import threading
    from concurrent.futures import ThreadPoolExecutor

    live, sent, lock = ["refresh-0"], [0], threading.Lock()

    def send(request: TokenRequest) -> TokenResponse:
        with lock:
            sent[0] += 1
            if json.loads(request.body)["refresh_token"] != live[0]:
                live[0] = ""
                body: Any = directus_error("INVALID_CREDENTIALS")
                if ready is supabase:
                    body = {"code": 400, "error_code": "refresh_token_already_used", "msg": "…"}
                return TokenResponse(400, {}, json.dumps(body).encode())
            live[0] = f"refresh-{sent[0]}"
            inner = DIRECTUS["data"] if ready is directus else SUPABASE
            assert isinstance(inner, dict)
            answer = inner | {"refresh_token": live[0], "access_token": f"access-{sent[0]}"}
            return TokenResponse(200, {}, json.dumps({"data": answer} if ready is directus else answer).encode())

    first = Token("access-0", "refresh-0", expires_at=time.time() - 1)
    with Credential("storm", ready("https://api.acme.com", send=send), token=first) as credential:
        with ThreadPoolExecutor(100) as pool:
            found = set(pool.map(lambda _: credential.token().reveal(), range(100)))
        assert (found, sent) == ({"access-1"}, [1])
    with Credential("again", ready("https://api.acme.com", send=send), token=first) as credential:
        for _ in range(3):
            with pytest.raises(LoginRequired) as raised:  # its refresh token was used
                credential.token()
            assert raised.value.proven
    assert sent == [2]


@pytest.mark.parametrize(
    ("ready", "url", "wanted"),
    [
        (directus, "https://a.com/", "https://a.com/auth/refresh"),
        (directus, "https://a.com/cms", "https://a.com/cms/auth/refresh"),
        (directus, "https://a.com/cms/auth/refresh", "https://a.com/cms/auth/refresh"),
        (directus, "https://refresh", "https://refresh/auth/refresh"),
        (pocketbase, "https://a.com/api/collections/x/auth-refresh", "https://a.com/api/collections/x/auth-refresh"),
        (simplejwt, "https://a.com/jwt/renew", "https://a.com/jwt/renew"),
        (flask_jwt_extended, "https://a.com/v1/auth/refresh", "https://a.com/v1/auth/refresh"),
    ],
)
def test_urls(ready: Callable[..., JsonEndpoint], url: str, wanted: str) -> None:
    assert ready(url).identity == f"endpoint {wanted}"


def test_profiles_and_what_is_wrong() -> None:
    assert pocketbase("https://a.com").renews_from_access
    assert pocketbase("https://a.com").profile is not None
    assert matrix("https://a.com").profile is not None
    assert matrix("https://a.com", profile="strict").profile.name == "strict"  # type: ignore[union-attr]
    for ready in READY.values():
        assert inspect.getdoc(ready)
        with pytest.raises(ConfigurationError):
            ready("http://api.acme.com")
        with pytest.raises(ConfigurationError):
            ready(None)
    with pytest.raises(ConfigurationError, match="name of a collection"):
        pocketbase("https://a.com", collection="../x")
    with pytest.raises(TypeError):
        directus("https://a.com", unknown=1)
