"""The configuration file: credentials by name, for programs and for the command alike.

    store = "sqlite"                                 # for every credential that names none

    [credentials.acme]
    token_endpoint = "https://login.acme.com/token"  # or json_endpoint, or refresher = "package.module:function"
    grant = "refresh_token"                          # or client_credentials
    client_id = "cli"
    client_auth = "client_secret_basic"              # client_secret_basic_plain, client_secret_post, none
    client_id_in_body = true                         # beside Basic
    client_secret = { env = "ACME_SECRET" }          # exactly one of env, file, command = ["…"]
    scope = "read"
    extra = { audience = "x" }
    renamed = { client_id = "client_key" }           # what the server calls fields of the standard
    answer = "data"                                  # the path to the token's fields in the answer
    dead = ["SESSION_GONE", { status = 403, "error.code" = "EXPIRED" }]  # likewise doubtful, busy
    revocation_endpoint = "https://login.acme.com/revoke"  # where a logout revokes the token; logout = … for JSON
    origins = ["https://api.acme.com"]               # where `onerefresh fetch` may send the token
    attach = 'Token {token}'                         # how the API wants it, or { "?key" = "{token}" }; default: Bearer
    refused = "slack"                                # what else refuses the token than a 401 (see `config.refused`)
    profile = "strict"
    resend = "never"                                 # or seconds until a request is repeated whose answer was lost
    max_wait = 60
    bearer_field = "id_token"                        # sent to the API in place of the access token
    early = 600                                      # refreshed so many seconds before its end; or a share of its life
                                                     # (0.5), or false: only once it is over, or refused
    store = "sqlite:////abs/path.db"                 # three slashes: beside this file; four: absolute; ~ expands
                                                     # or { env = "ACME_STORE" } and so on, for a URL with a password
    encrypt = { keyring = "onerefresh" }             # see `encryption`; before all sections: for every credential
    moved_from = "sqlite"                            # where the credential was before, as for store
    provider = "acme"                                # settings of [providers.acme], which others share; see `providers`

The file can run commands, so it is never looked for in the working folder, and one that others can write is refused.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onerefresh.bearer_field import checked_bearer_field
from onerefresh.clients.attach import parts_of
from onerefresh.clients.origins import Origins
from onerefresh.clients.refused import RefusedWhen
from onerefresh.config.encryption import Encryption, encryption
from onerefresh.config.endpoints import ENDPOINTS, JSON_KEYS, SECRET_WORDS, TOKEN_KEYS, arguments, made
from onerefresh.config.place import config_file, content_of
from onerefresh.config.providers import called, section_of, told_where_it_is_written
from onerefresh.config.refresher import imported
from onerefresh.config.refused import refused_rules
from onerefresh.config.secret_source import WRITE_A_SOURCE, SecretSource, secret_source
from onerefresh.config.store_url import placed
from onerefresh.config.values import alike, table, text
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError, OnerefreshError
from onerefresh.private_files import absolute
from onerefresh.profile import profile_named
from onerefresh.refresher import profile_of, renews_from_access, translated
from onerefresh.secret import Secret
from onerefresh.store import Store
from onerefresh.stores import holds_password

__all__ = ["Configuration", "Entry", "config_file", "load", "parse", "read"]


def load(name: str, *, config: str | os.PathLike[str] | None = None) -> Credential:
    """The credential that the configuration file calls `name`.

    `config`: the file; else ``$ONEREFRESH_CONFIG`` names it, else it is ``onerefresh/onerefresh.toml`` in the user's
    configuration folder. A client secret is fetched only when it is needed.

    Raises `ConfigurationError` where the file, the name or a setting is wrong.
    """
    return read(config).named(name).open()


# --- What is in the file ---


@dataclass(frozen=True, slots=True)
class Entry:
    """One credential of the file, as written there. `open` makes it usable."""

    name: str
    source: Path
    origins: tuple[str, ...]
    store: str | SecretSource
    refresher: str | None
    endpoint: Mapping[str, Any]
    options: Mapping[str, Any]
    moved_from: str | SecretSource | None = None
    attach: str | Mapping[str, str] | None = None
    refused: tuple[str | RefusedWhen, ...] | None = None
    encrypt: Encryption | None = None
    moved_from_encrypt: Encryption | None = None
    provider: str | None = None

    def open(self) -> Credential:
        """The credential. Raises `ConfigurationError` for settings that cannot work."""
        try:
            refresher = self._refresher()
            return Credential(
                self.name,
                refresher,
                store=self._opened(self.store, self.encrypt),
                moved_from=None if self.moved_from is None else self._opened(self.moved_from, self.moved_from_encrypt),
                **self._options(refresher),
            )
        except ConfigurationError as error:
            message, cause = error.message, None
        except OnerefreshError:
            raise
        except Exception as error:  # noqa: BLE001 - a user's refresher may raise anything, and other entries go on
            message, cause = f"its refresher cannot be used: it raised {type(error).__name__}", error
        raise ConfigurationError(f"{self.source}: {called(self.name, self.provider)}: {message}") from cause

    def store_url(self) -> Secret:
        """The URL of the credential's store, which may hold a password.

        Raises `ConfigurationError` where the URL cannot be fetched.
        """
        return self._url(self.store)

    def _url(self, place: str | SecretSource) -> Secret:
        if isinstance(place, SecretSource):
            return Secret(placed(place().reveal(), self.source.parent))
        return Secret(place)

    def _opened(self, place: str | SecretSource, encrypt: Encryption | None) -> str | Store:
        url = self._url(place)
        return url.reveal() if encrypt is None else encrypt.around(url)

    def _options(self, refresher: object = None) -> dict[str, Any]:
        options = dict(self.options)
        if "resend" in options:
            profile = profile_named(options.get("profile") or profile_of(refresher) or "strict")
            options["profile"] = replace(profile, resend=options.pop("resend"))
        return options

    def _refresher(self) -> Callable[[Any], Any]:
        if self.refresher is not None:
            return imported(self.refresher)
        profile = self.options.get("profile")
        return made(self.endpoint, None if profile is None else text(profile, "profile"))

    def needs_refresh_token(self) -> bool:
        """Whether its endpoint gives the next token for a refresh token alone."""
        by_refresh_token = self.endpoint.get("grant", "refresh_token") == "refresh_token"
        return bool(self.endpoint) and by_refresh_token and not renews_from_access(self._refresher())

    def translated(self, answer: Mapping[str, object]) -> Mapping[str, object]:
        """A login's answer, with its fields under the names that are understood."""
        found = translated(self._refresher(), answer)
        return found if isinstance(found, Mapping) else answer


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration file that was read and checked."""

    path: Path
    entries: Mapping[str, Entry]
    providers: tuple[str, ...] = ()

    def named(self, name: str) -> Entry:
        """The entry of that name. Raises `ConfigurationError` for a name that the file does not have."""
        if name in self.entries:
            return self.entries[name]
        if name in self.providers:
            accounts = [entry.name for entry in self.entries.values() if entry.provider == name]
            raise ConfigurationError(
                f"{self.path}: {name!r} is a provider, and no credential: "
                f"name one of its accounts ({', '.join(accounts) or 'there are none yet'})"
            )
        known = ", ".join(self.entries) or "none"
        raise ConfigurationError(
            f"{self.path} has no credential {name!r}{alike(name, self.entries)} (it has: {known}); "
            f"add a section [credentials.{name}]"
        )


# --- Parsing: text in, configuration out ---

_OPTION_KEYS = ("profile", "resend", "max_wait", "early", "bearer_field")
_STORE_KEYS = ("store", "encrypt", "moved_from", "moved_from_encrypt")
_ENDPOINT_KEYS = tuple(dict.fromkeys((*TOKEN_KEYS, *JSON_KEYS)))
_KEYS = (*_ENDPOINT_KEYS, "refresher", "origins", "attach", "refused", *_OPTION_KEYS, *_STORE_KEYS)


def parse(text: str, path: Path) -> Configuration:
    """The configuration in `text` (TOML). `path`: where it comes from.

    Raises `ConfigurationError`, which names the key and what to write there.
    """
    found = _parsed(text, path)
    if isinstance(found, Configuration):
        return found
    del text  # a secret in it, by mistake, would show in a traceback with locals
    raise ConfigurationError(found)


def _parsed(text: str, path: Path) -> Configuration | str:
    """The configuration, or what is wrong with it."""
    try:
        path = absolute(path)
        content = tomllib.loads(text)
        _refuse_unknown(content, ("store", "encrypt", "providers", "credentials"), "")
        store = content.get("store", "sqlite")
        _store(store, "store", path.parent)
        encryption(content.get("encrypt", False), "encrypt", path.parent)
        providers = _providers(table(content.get("providers", {}), "providers"))
        common = {"store": store, "encrypt": content.get("encrypt", False)}
        sections = table(content.get("credentials", {}), "credentials")
        entries = {name: _entry(name, section, path, common, providers) for name, section in sections.items()}
    except tomllib.TOMLDecodeError as error:
        return f"{path} is not TOML: {error}"
    except ConfigurationError as error:
        return f"{path}: {error.message}"
    return Configuration(path, entries, tuple(providers))


def _providers(sections: Mapping[str, object]) -> dict[str, dict[str, object]]:
    found = {name: table(section, f"providers.{name}") for name, section in sections.items()}
    for name, settings in found.items():
        _refuse_unknown(settings, _KEYS, f"providers.{name}.")
    return found


def _entry(
    name: str,
    written: object,
    path: Path,
    common: Mapping[str, object],
    providers: Mapping[str, Mapping[str, object]],
) -> Entry:
    where = f"credentials.{name}"
    _refuse_unknown(table(written, where), (*_KEYS, "provider"), f"{where}.")
    section = section_of(name, table(written, where), providers)
    entry = told_where_it_is_written(name, section, lambda: _read(name, section.settings, path, common))
    return replace(entry, provider=section.provider)


def _read(name: str, settings: Mapping[str, object], path: Path, common: Mapping[str, object]) -> Entry:
    where = f"credentials.{name}"
    refresher = settings.get("refresher")
    if sum(key in settings for key in ("refresher", *ENDPOINTS)) != 1:
        raise ConfigurationError(
            f'{where} needs exactly one of token_endpoint = "https://…", json_endpoint = "https://…" and '
            'refresher = "package.module:function"'
        )
    if refresher is not None:
        for key in _ENDPOINT_KEYS:
            if key in settings:
                raise ConfigurationError(
                    f"{where}.{key} is only for an endpoint: leave it out when there is a refresher"
                )
    if "bearer_field" in settings:
        checked_bearer_field(text(settings["bearer_field"], f"{where}.bearer_field"))
    before = settings.get("moved_from")
    return Entry(
        name=name,
        source=path,
        origins=_origins(settings.get("origins", []), f"{where}.origins"),
        store=_store(settings.get("store", common["store"]), f"{where}.store", path.parent),
        encrypt=encryption(settings.get("encrypt", common["encrypt"]), f"{where}.encrypt", path.parent),
        moved_from_encrypt=_encrypted_before(settings, where, path.parent),
        moved_from=None if before is None else _store(before, f"{where}.moved_from", path.parent),
        refused=refused_rules(settings["refused"], f"{where}.refused") if "refused" in settings else None,
        refresher=None if refresher is None else text(refresher, f"{where}.refresher"),
        endpoint={} if refresher is not None else arguments(settings, where, path.parent),
        options={key: settings[key] for key in _OPTION_KEYS if key in settings},
        attach=_attach(settings["attach"], f"{where}.attach") if "attach" in settings else None,
    )


def _store(value: object, where: str, folder: Path) -> str | SecretSource:
    if isinstance(value, dict):
        return secret_source(value, where, folder)
    store = text(value, where)
    if holds_password(store):
        raise ConfigurationError(f"{where}: a password does not belong in this file; {WRITE_A_SOURCE}")
    return placed(store, folder)


def _attach(value: object, where: str) -> str | dict[str, str]:
    found = value if isinstance(value, dict) else text(value, where)
    for place, template in found.items() if isinstance(found, dict) else ():
        fixed = "{" not in text(template, f"{where}.{place}")
        if fixed and any(word in place.lower() for word in (*SECRET_WORDS, "key", "auth")):
            raise ConfigurationError(
                f"{where}.{place}: a secret does not belong in this file; write {{token}} or {{extra.NAME}} there"
            )
    try:
        parts_of(found, "Authorization")
    except ConfigurationError as error:
        message = error.message
    else:
        return found
    raise ConfigurationError(f"{where}: {message}")


def _encrypted_before(settings: Mapping[str, object], where: str, folder: Path) -> Encryption | None:
    if "moved_from_encrypt" in settings and "moved_from" not in settings:
        raise ConfigurationError(f"{where}.moved_from_encrypt is only for a moved_from: leave it out without one")
    return encryption(settings.get("moved_from_encrypt", False), f"{where}.moved_from_encrypt", folder)


def _origins(value: object, where: str) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not all(isinstance(origin, str) for origin in several):
        raise ConfigurationError(f'{where} must be a list of strings: ["https://api.example.com"]')
    try:
        return tuple(Origins(several)) if several else ()
    except ConfigurationError as error:
        message = error.message
    raise ConfigurationError(f"{where}: {message}")


def _refuse_unknown(table: Mapping[str, object], known: Sequence[str], where: str) -> None:
    for key in table:
        if key in known:
            continue
        if key in ("token", "access_token", "refresh_token"):
            raise ConfigurationError(
                f"{where}{key}: a token does not belong in this file; remove it, and pipe the token response "
                "into: onerefresh login NAME --with-token"
            )
        if any(word in key.lower() for word in ("password", "passwd", "secret")) and not alike(key, known):
            raise ConfigurationError(f"{where}{key}: a secret does not belong in this file; remove it")
        raise ConfigurationError(f"{where}{key} is unknown{alike(key, known)}; the keys are {', '.join(known)}")


# --- Reading the file ---


def read(config: str | os.PathLike[str] | None = None) -> Configuration:
    """Find, check and parse the configuration file. Raises `ConfigurationError`."""
    path = config_file(config)
    try:
        found = _parsed(content_of(path), path)
    except FileNotFoundError:
        found = (
            f"there is no configuration file {path}: create it (`onerefresh --help` shows an example), or give "
            "another one with --config or ONEREFRESH_CONFIG"
        )
    except OSError as error:
        found = f"{path} cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        found = f"{path} is not UTF-8 (see byte {error.start}): save it as UTF-8"
    if isinstance(found, Configuration):
        return found
    raise ConfigurationError(found)
