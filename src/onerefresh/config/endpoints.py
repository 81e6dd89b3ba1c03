"""The endpoints of the configuration file: the arguments that its keys stand for.

[credentials.acme]
token_endpoint = "https://login.acme.com/token"  # a `TokenEndpoint`
client_id = "cli"

[credentials.shop]
json_endpoint = "https://shop.acme.com/auth/refresh"  # a `JsonEndpoint`
body = { refresh_token = "{refresh_token}" }

[credentials.cms]
json_endpoint = "https://cms.acme.com"
ready = "directus"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from onerefresh.config.secret_source import WRITE_A_SOURCE, SecretSource, secret_source
from onerefresh.config.values import kind, table, text
from onerefresh.errors import ConfigurationError
from onerefresh.token import Token

__all__ = ["ENDPOINTS", "JSON_KEYS", "SECRET_WORDS", "TOKEN_KEYS", "arguments", "made"]

ENDPOINTS = ("token_endpoint", "json_endpoint")
_RULES = ("dead", "doubtful", "busy")
TOKEN_KEYS = (
    "token_endpoint",
    "grant",
    "client_id",
    "client_auth",
    "client_id_in_body",
    "client_secret",
    "scope",
    "extra",
    "renamed",
    "answer",
    "revocation_endpoint",
    *_RULES,
)
_OF_A_REQUEST = ("method", "body", "format", "headers", "cookies", "query")
JSON_KEYS = ("json_endpoint", "grant", "ready", *_OF_A_REQUEST, "fields", "keep", "logout", *_RULES)
_CALLED = {"url": "token_endpoint", "revocation_url": "revocation_endpoint"}
SECRET_WORDS = ("token", "secret", "password", "passwd", "assertion", "api_key", "apikey", "api-key", "authorization")
_GAP = re.compile(r"\{[A-Za-z_]\w*\}")
_SOURCES = {"env": str, "file": str, "command": list}


def arguments(settings: Mapping[str, object], where: str, folder: Path) -> dict[str, object]:
    """The arguments for the endpoint of a section, which has one of `ENDPOINTS`.

    Raises `ConfigurationError` for a value of the wrong kind, and for a secret.
    """
    is_json = "json_endpoint" in settings
    for key in JSON_KEYS if not is_json else TOKEN_KEYS:
        if key in settings and key not in (TOKEN_KEYS if not is_json else JSON_KEYS):
            other, one = ENDPOINTS if is_json else reversed(ENDPOINTS)
            raise ConfigurationError(f"{where}.{key} is only for a {other}: leave it out where there is a {one}")
    found = (_of_json if is_json else _of_token)(settings, where, folder)
    return found | {key: settings[key] for key in _RULES if key in settings}


def made(endpoint: Mapping[str, Any], profile: str | None) -> Callable[[Token], Any]:
    """The endpoint with these arguments. `profile`: how its provider is called.

    Raises `ConfigurationError` for settings that cannot work.
    """
    named: dict[str, Any] = {} if profile is None else {"profile": profile}
    if "client_id" in endpoint:
        from onerefresh.oauth2 import TokenEndpoint

        return TokenEndpoint(**endpoint, **named)
    from onerefresh.endpoints import JsonEndpoint
    from onerefresh.endpoints.ready import READY

    rest = {key: value for key, value in endpoint.items() if key not in ("url", "ready")}
    return READY.get(endpoint.get("ready", ""), JsonEndpoint)(endpoint["url"], **rest, **named)


def _of_token(settings: Mapping[str, object], where: str, folder: Path) -> dict[str, object]:
    if "client_id" not in settings:
        raise ConfigurationError(f"{where}.client_id is missing: write the client ID that is registered at the server")
    found: dict[str, object] = {"url": settings["token_endpoint"]}
    found |= {key: settings[key] for key in ("client_id", "grant", "client_auth", "scope", "answer") if key in settings}
    if "revocation_endpoint" in settings:
        found["revocation_url"] = settings["revocation_endpoint"]
    for key, value in found.items():
        checked = text(value, f"{where}.{_CALLED.get(key, key)}")
        if key in _CALLED:
            _without_secrets(checked, f"{where}.{_CALLED[key]}")
    if "bearer_field" in settings:
        found["bearer_field"] = settings["bearer_field"]
    if "client_id_in_body" in settings:
        found["client_id_in_body"] = _yes_or_no(settings["client_id_in_body"], f"{where}.client_id_in_body")
    if "client_secret" in settings:
        found["client_secret"] = secret_source(settings["client_secret"], f"{where}.client_secret", folder)
    if "renamed" in settings:
        found["renamed"] = table(settings["renamed"], f"{where}.renamed")
    if "extra" in settings:
        found["extra"] = extra = table(settings["extra"], f"{where}.extra")
        for key in extra:
            if _is_secret(key):
                raise ConfigurationError(
                    f"{where}.extra.{key}: a secret does not belong in this file; "
                    'write a refresher = "package.module:function" that fetches it itself'
                )
    return found


def _of_json(settings: Mapping[str, object], where: str, folder: Path) -> dict[str, object]:
    url = _without_secrets(text(settings["json_endpoint"], f"{where}.json_endpoint"), f"{where}.json_endpoint")
    found: dict[str, object] = {"url": url}
    if "grant" in settings:
        found["grant"] = text(settings["grant"], f"{where}.grant")
    if "ready" in settings:
        from onerefresh.endpoints.ready import READY

        found["ready"] = ready = text(settings["ready"], f"{where}.ready")
        if ready not in READY:
            raise ConfigurationError(f"{where}.ready: unknown server {ready!r}: use one of {', '.join(READY)}")
    for key in ("fields", "keep"):
        if key in settings:
            found[key] = table(settings[key], f"{where}.{key}")
    if "logout" in settings:
        found["logout"] = _logout(settings["logout"], f"{where}.logout", folder)
    if isinstance(settings.get("cookies"), bool) and "ready" in settings:
        found["cookies"] = settings["cookies"]
        settings = {key: value for key, value in settings.items() if key != "cookies"}
    return found | _request(settings, where, folder)


def _logout(value: object, where: str, folder: Path) -> object:
    if value is False:
        return None
    if isinstance(value, str):
        return _without_secrets(text(value, where), where)
    settings = table(value, where)
    found = {key: one for key, one in settings.items() if key not in ("url", *_OF_A_REQUEST)}  # unknown ones
    if "url" in settings:
        found["url"] = _without_secrets(text(settings["url"], f"{where}.url"), f"{where}.url")
    return found | _request(settings, where, folder)


def _request(settings: Mapping[str, object], where: str, folder: Path) -> dict[str, object]:
    """What a request is described by, beside its URL."""
    found: dict[str, object] = {}
    for key in ("method", "format"):
        if key in settings:
            found[key] = text(settings[key], f"{where}.{key}")
    for key in ("headers", "cookies", "query"):
        if key in settings:
            values = _with_sources(table(settings[key], f"{where}.{key}"), f"{where}.{key}", folder)
            for name, value in values.items():
                if not isinstance(value, (str, SecretSource)):
                    raise ConfigurationError(
                        f"{where}.{key}.{name} must be a string in quotes, not {kind(value)}; "
                        f"for a secret {WRITE_A_SOURCE}"
                    )
            found[key] = values
    if "body" in settings:
        body = settings["body"]
        found["body"] = None if body is False else _with_sources(table(body, f"{where}.body"), f"{where}.body", folder)
    return found


def _without_secrets(url: str, where: str) -> str:
    """`url`. Raises `ConfigurationError` where its query has a secret in clear."""
    for name, value in parse_qsl(url.partition("?")[2]):
        if _is_secret(name) and not _has_gaps(value):
            is_json = where.endswith(".json_endpoint") or ".logout" in where
            instead = (
                f'write query = {{ {name} = {{ env = "NAME" }} }}'
                if is_json
                else 'write a refresher = "package.module:function" that fetches it itself'
            )
            raise ConfigurationError(f"{where}: the secret {name} in its query does not belong in this file; {instead}")
    return url


def _with_sources(value: object, where: str, folder: Path) -> Any:
    """A part of a request, with the sources of its secrets. Raises `ConfigurationError` for a secret in clear."""
    if isinstance(value, dict):
        found = {}
        for name, one in value.items():
            place = f"{where}.{name}"
            if _is_source(one):
                found[name] = secret_source(one, place, folder)
            elif isinstance(one, str) and not _has_gaps(one) and _is_secret(name):
                raise ConfigurationError(f"{place}: a secret does not belong in this file; {WRITE_A_SOURCE}")
            else:
                found[name] = _with_sources(one, place, folder)
        return found
    if isinstance(value, list):
        return [_with_sources(one, f"{where}[{number}]", folder) for number, one in enumerate(value)]
    if not isinstance(value, (str, int, float)):
        raise ConfigurationError(f"{where} cannot be {kind(value)}")
    return value


def _has_gaps(text: str) -> bool:
    """Whether a text has gaps for tokens."""
    return _GAP.search(text) is not None


def _is_source(value: object) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((name, place),) = value.items()
    return name in _SOURCES and isinstance(place, _SOURCES[name])


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in SECRET_WORDS) and not name.lower().endswith("_type")


def _yes_or_no(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{where} must be true or false, not {kind(value)}")
    return value
