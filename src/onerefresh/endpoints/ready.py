"""Ready `JsonEndpoint`s for well-known servers. Each takes the server's URL, and what else a `JsonEndpoint` takes.

What is given beside the URL replaces what is ready; `headers` are added to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from onerefresh.endpoints.json_endpoint import JsonEndpoint
from onerefresh.errors import ConfigurationError
from onerefresh.oauth2.codec import Fields
from onerefresh.oauth2.secret_value import Given
from onerefresh.profile import Profile
from onerefresh.secret import Secret

__all__ = ["READY", "directus", "flask_jwt_extended", "matrix", "pocketbase", "simplejwt", "supabase"]

_WITH_ACCESS: dict[str, object] = {"body": None, "headers": {"Authorization": "Bearer {access_token}"}}


def directus(url: str, **more: Any) -> JsonEndpoint:
    """Directus: ``POST /auth/refresh``, mode ``json``. Its refresh tokens rotate, and ``expires`` is in milliseconds.

    `url`: the server's, or that of its refresh endpoint.
    """
    more = Fields(more)
    endpoint = _at(url, "/auth/refresh")
    return _made(
        endpoint,
        more,
        logout=_logout(endpoint, "/auth/refresh", "/auth/logout"),
        body={"refresh_token": "{refresh_token}", "mode": "json"},
        fields={
            "access_token": "data.access_token",
            "refresh_token": "data.refresh_token",
            "expires_in_ms": "data.expires",
        },
        dead={"errors.*.extensions.code": ["INVALID_CREDENTIALS", "TOKEN_EXPIRED", "INVALID_TOKEN"]},
        doubtful={"errors.*.extensions.code": "USER_SUSPENDED"},
        busy={"errors.*.extensions.code": ["REQUESTS_EXCEEDED", "SERVICE_UNAVAILABLE"]},
    )


def pocketbase(url: str, *, collection: str = "users", **more: Any) -> JsonEndpoint:
    """PocketBase: ``POST /api/collections/COLLECTION/auth-refresh``, which renews from the access token itself.

    So the token has to be renewed while it still works. `url`: the server's, or that of the endpoint. `collection`: the
    one that its users are in.
    """
    more = Fields(more)
    if type(collection) is not str or not collection.replace("_", "").isalnum() or not collection.isascii():
        raise ConfigurationError(f"collection must be the name of a collection, not {collection!r}")
    return _made(
        _at(url, f"/api/collections/{collection}/auth-refresh"),
        more,
        body=None,
        headers={"Authorization": "{access_token}"},
        fields={"access_token": "token"},
        # Not each 401: a gateway before the server may answer so, too.
        dead={"status": 401, "message": "The request requires valid record authorization token*"},
        profile=Profile("pocketbase", rotates=False),
    )


def matrix(url: str, **more: Any) -> JsonEndpoint:
    """Matrix: ``POST /_matrix/client/v3/refresh``, as Synapse answers it. `url`: the homeserver's, or the endpoint's.

    The next token may be asked for again until the new one is used, so a lost answer costs no session.
    """
    more = Fields(more)
    endpoint = _at(url, "/_matrix/client/v3/refresh")
    return _made(
        endpoint,
        more,
        logout=_logout(endpoint, "/_matrix/client/v3/refresh", "/_matrix/client/v3/logout", **_WITH_ACCESS),
        fields={"expires_in_ms": "expires_in_ms"},
        dead=[{"status": 401, "errcode": "M_UNKNOWN_TOKEN"}, {"status": 403, "errcode": "M_FORBIDDEN"}],
        doubtful=["M_USER_DEACTIVATED", "M_USER_LOCKED", "M_USER_SUSPENDED"],
        busy="M_LIMIT_EXCEEDED",
        profile=Profile("matrix", resend=0.0),
    )


def simplejwt(url: str, **more: Any) -> JsonEndpoint:
    """djangorestframework-simplejwt: ``POST /api/token/refresh/`` with ``refresh``, answered by ``access``.

    `url`: that of the endpoint, or the server's. The access token's life is in the token, which is a JWT.
    """
    more = Fields(more)
    return _made(
        _at(url, "/api/token/refresh/", is_usual=True),
        more,
        body={"refresh": "{refresh_token}"},
        fields={"access_token": "access", "refresh_token": "refresh"},
        dead=["token_not_valid", "no_active_account"],
    )


def flask_jwt_extended(url: str, *, cookies: bool | Mapping[str, Given] = False, **more: Any) -> JsonEndpoint:
    """flask-jwt-extended: ``POST /refresh`` with the refresh token in ``Authorization``.

    `url`: that of the endpoint, or the server's. `cookies`: True where the app keeps its tokens in cookies: then the
    request has the refresh token in one, and the CSRF token, which is a claim of the refresh token, in a header.
    """
    more = Fields(more)
    way = Fields(headers={"Authorization": "Bearer {refresh_token}"})
    if cookies is not False:
        way = Fields(
            cookies={"refresh_token_cookie": "{refresh_token}"} if cookies is True else cookies,
            headers={"X-CSRF-TOKEN": "{csrf}"},
            keep={"csrf": "claim:csrf"},
            fields={"access_token": "cookie:access_token_cookie"},
        )
    del cookies  # one may be a secret, which would show in a traceback with locals
    return _made(
        _at(url, "/refresh", is_usual=True),
        more,
        body=None,
        dead=[
            {"status": 401, "msg": ["Token has expired", "Token has been revoked", "Error loading the user *"]},
            {"status": 422, "msg": "Not enough segments"},
        ],
        # The app's key was changed, or it is another app's.
        doubtful={"status": 422, "msg": ["Signature verification failed", "Invalid audience", "Invalid issuer"]},
        profile="static",
        **way,
    )


def supabase(url: str, *, api_key: Given | None = None, **more: Any) -> JsonEndpoint:
    """Supabase: ``POST /auth/v1/token?grant_type=refresh_token``. Its refresh tokens rotate.

    `url`: the project's, or that of the endpoint. `api_key`: the project's publishable key, which the hosted service
    wants in the header ``apikey``: a text, a `Secret`, or a function that returns one.
    """
    api_key = Secret(api_key) if isinstance(api_key, str) else api_key  # first, so that no traceback shows it
    more = Fields(more)
    endpoint = _at(url, "/auth/v1/token")
    return _made(
        endpoint,
        more,
        query={"grant_type": "refresh_token"},
        body={"refresh_token": "{refresh_token}"},
        logout=_logout(endpoint, "/auth/v1/token", "/auth/v1/logout", **_WITH_ACCESS, query={"scope": "local"}),
        headers={} if api_key is None else {"apikey": api_key},
        dead=[
            "refresh_token_not_found",
            "refresh_token_already_used",
            "session_not_found",
            "session_expired",
            "user_not_found",
            "invalid_grant",
        ],
        doubtful="user_banned",
        busy=["over_request_rate_limit", "request_timeout"],
        profile="supabase",
    )


READY: Mapping[str, Callable[..., JsonEndpoint]] = MappingProxyType(
    {
        "directus": directus,
        "pocketbase": pocketbase,
        "matrix": matrix,
        "simplejwt": simplejwt,
        "flask-jwt-extended": flask_jwt_extended,
        "supabase": supabase,
    }
)
"""The ready endpoints, under the names that the configuration file uses."""


def _made(url: str, more: Fields, **ready: Any) -> JsonEndpoint:
    settings: dict[str, Any] = Fields({**ready, **more})
    usual, own = ready.get("headers", {}), more.get("headers")
    del ready, more  # they may hold secrets, which would show in a traceback with locals
    if isinstance(own, Mapping):
        added = {name.lower() for name in own if isinstance(name, str)}
        settings["headers"] = {**{name: value for name, value in usual.items() if name.lower() not in added}, **own}
    del usual, own
    return JsonEndpoint(url, **settings)


def _logout(endpoint: str, path: str, other: str, **how: object) -> dict[str, object] | None:
    """The logout at another path of the server; None where that is not known."""
    is_known = type(endpoint) is str and endpoint.endswith(path)
    return {"url": endpoint.removesuffix(path) + other, **how} if is_known else None


def _at(url: str, path: str, *, is_usual: bool = False) -> str:
    """The endpoint's URL. `is_usual`: the path is only a usual one, so any other that was given counts."""
    if type(url) is not str or "?" in url or "#" in url:
        return url  # refused, or taken as it is, where it is parsed
    base = url.rstrip("/")
    _, _, given = base.partition("://")[2].partition("/")
    if is_usual and given:
        return url
    return url if base.endswith(path.rstrip("/").rpartition("/")[2]) and given else base + path
