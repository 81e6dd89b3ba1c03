"""Encryption of what a store holds, as the configuration file describes it.

    encrypt = { keyring = "onerefresh" }             # exactly one of keyring, file, env, command = ["…"]
    encrypt = { file = "new.key", old_keys = [{ file = "old.key" }], context = "production" }

`old_keys` decrypt only. `context`, `require_context` and `adopt_plain` are those of `EncryptedStore`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onerefresh.config.secret_source import SecretSource, secret_source
from onerefresh.config.values import kind, text
from onerefresh.errors import ConfigurationError
from onerefresh.secret import Secret
from onerefresh.store import Store, is_shared
from onerefresh.stores import first, open_store

if TYPE_CHECKING:
    from onerefresh.stores.keys import KeySource

__all__ = ["Encryption", "encryption"]

SOURCES = ("keyring", "file", "env", "command")
SWITCHES = ("require_context", "adopt_plain")
OPTIONS = ("old_keys", "context", *SWITCHES)
WRITE_ONE = 'write { keyring = "NAME" }, { file = "PATH" }, { env = "NAME" } or { command = ["PROGRAM", "…"] }'


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where keys are: `kind` is one of `SOURCES`, and `place` its value; `command`: fetches the keys."""

    kind: str
    place: str
    folder: Path
    command: SecretSource | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.place}"

    def opened(self) -> KeySource:
        """The source of keys. Raises `ConfigurationError` where it cannot be used."""
        from onerefresh.stores import keys

        if self.command is not None:
            return keys.FunctionKey(self.command, str(self))
        if self.kind == "keyring":
            return keys.KeyringKey(self.place)
        if self.kind == "env":
            return keys.EnvironmentKey(self.place)
        return keys.KeyFile(self.folder / self.place if not self.place.startswith("~") else self.place)


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a store is encrypted: the arguments for an `EncryptedStore`. The first of the `keys` encrypts."""

    keys: tuple[KeyPlace, ...]
    context: str | None = None
    require_context: bool = False
    adopt_plain: bool = False

    def __str__(self) -> str:
        return f"with the key from {self.keys[0]}"

    def around(self, url: Secret) -> Store:
        """The store at `url`, encrypted; the same one for all users of one place. Raises `ConfigurationError`."""
        from onerefresh.stores.encrypted import EncryptedStore

        within = open_store(url)
        store = EncryptedStore(
            within,
            *[key.opened() for key in self.keys],
            context=self.context,
            require_context=self.require_context,
            adopt_plain=self.adopt_plain,
        )
        if is_shared(within):
            store.closes_with_its_users = True
            return first(f"{self!r} {within.name} {url.fingerprint()}", store)
        return store


def encryption(value: object, where: str, folder: Path) -> Encryption | None:
    """The encryption that a `value` of the file describes; None for ``false``.

    Raises `ConfigurationError` for anything else.
    """
    if value is False:
        return None
    settings = _table(value, where)
    sources = {key: settings[key] for key in settings if key not in OPTIONS}
    old = settings.get("old_keys", [])
    if not isinstance(old, list):
        raise ConfigurationError(f'{where}.old_keys must be a list of sources: [{{ file = "old.key" }}]')
    places = [_place(sources, where, folder)]
    places += [_place(_table(one, f"{where}.old_keys"), f"{where}.old_keys", folder) for one in old]
    context = settings.get("context")
    for key in SWITCHES:
        if not isinstance(settings.get(key, False), bool):
            raise ConfigurationError(f"{where}.{key} must be true or false, not {kind(settings[key])}")
    require_context, adopt_plain = (settings.get(key, False) is True for key in SWITCHES)
    if require_context and (context is None or adopt_plain):
        missing = "needs a context" if context is None else "contradicts adopt_plain = true: leave one of them out"
        raise ConfigurationError(f"{where}.require_context = true {missing}")
    checked = None if context is None else text(context, f"{where}.context")
    return Encryption(tuple(places), checked, require_context, adopt_plain)


def _table(value: object, where: str) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        raise ConfigurationError(f"{where}: a key does not belong in this file; {WRITE_ONE}")
    raise ConfigurationError(f"{where} must be a table, not {kind(value)}; {WRITE_ONE}")


def _place(sources: Mapping[str, object], where: str, folder: Path) -> KeyPlace:
    if len(sources) != 1 or next(iter(sources)) not in SOURCES:
        names = ", ".join(sources) or "nothing"
        known = f"exactly one of {', '.join(SOURCES)}"
        raise ConfigurationError(f"{where} must name {known}, not {names}; {WRITE_ONE}")
    ((source, value),) = sources.items()
    if source == "command":
        command = secret_source({source: value}, where, folder)
        return KeyPlace(source, command.place[0], folder, command)
    return KeyPlace(source, text(value, f"{where}.{source}"), folder)
