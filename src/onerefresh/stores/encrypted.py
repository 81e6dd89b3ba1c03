"""The encrypted store: any other store, with nothing but ciphertext in it and in the spool of its credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.store import Hold, Moment, Store, Unreadable, Versioned, is_sealed
from onerefresh.stores import open_store
from onerefresh.stores.envelope import NEWER, Key, Purpose, need_cryptography, parse, sealed, unsealed
from onerefresh.stores.keys import KeySource, keys_in, source_of
from onerefresh.token import Secret

__all__ = ["EncryptedStore"]


@dataclass(frozen=True, slots=True)
class _Ring:
    """The keys that are known, by source. The first key of the first source encrypts, each decrypts."""

    held: tuple[tuple[KeySource, tuple[Key, ...]], ...]

    @property
    def writes(self) -> Key | None:
        (_, keys), *_others = self.held
        return keys[0] if keys else None

    def named(self, key_id: str) -> Key | None:
        return next((key for _, keys in self.held for key in keys if key.id == key_id), None)

    def __str__(self) -> str:
        told = [f"{source} holds {' and '.join(key.id for key in keys) or 'no key'}" for source, keys in self.held]
        return ", ".join(told)


class EncryptedStore(Store):
    """`store` (a `Store`, or a URL) with all that it holds encrypted.

    `keys`: one source or several: `KeyFile`, `EnvironmentKey`, `KeyringKey`, or a function that returns keys. The first
    key of the first source encrypts; each key decrypts, and a record is encrypted anew whenever it is written. Sources
    are read when a key is needed, and once more for an envelope whose key is not known yet.

    `adopt_plain`: read what was stored without encryption too; its next write encrypts it.

    What no key opens raises `StoreUnavailable` and stays as it is, whatever is asked for, a login too;
    only `Credentials.delete` writes over it.

    Raises `ConfigurationError` for arguments that cannot work, or where the package `cryptography` is missing.
    """

    def __init__(self, store: str | Store, *keys: KeySource | Callable[[], object], adopt_plain: bool = False) -> None:
        if not keys:
            raise ConfigurationError("an EncryptedStore needs a key: EncryptedStore(store, KeyFile(PATH))")
        need_cryptography()
        self._store = open_store(store)
        self._sources = tuple(source_of(key) for key in keys)
        self._adopt_plain = adopt_plain
        self._known: _Ring | None = None
        self.name, self.durable = self._store.name, self._store.durable
        self.forgets = self._store.forgets
        self._learn()

    def load(self, key: str) -> Versioned | None:
        found = self._store.load(key)
        self._learn()
        return None if found is None else self._read(key, found)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        try:
            encrypted = sealed(body, self._key_that_writes(), Purpose.RECORD, key)
        finally:
            del body  # it holds tokens, and would show in a traceback with locals
        return self._store.cas(key, expected, encrypted)

    def seal(self, key: str, text: str) -> str:
        try:
            return sealed(text, self._key_that_writes(), Purpose.SPOOL, key)
        finally:
            del text  # as above

    def unseal(self, key: str, text: str) -> str:
        kept = Secret(text)
        del text  # as above: it may not be encrypted
        opened, problem = self._open(key, kept, Purpose.SPOOL)
        if opened is None:
            raise StoreUnavailable(f"the spooled token {problem}; nothing was changed", credential=key)
        return opened.reveal()

    def wait(self, key: str, version: str, timeout: float) -> None:
        self._store.wait(key, version, timeout)

    def hold(self, key: str) -> Hold | None:
        return self._store.hold(key)

    def moment(self) -> Moment | None:
        return self._store.moment()

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        for key, found in self._store.scan():
            if isinstance(found, StoreUnavailable):
                yield key, found
                continue
            try:
                yield key, self._read(key, found)
            except StoreUnavailable as error:
                yield key, error

    def close(self) -> None:
        self._store.close()

    def _learn(self) -> None:
        """A store may learn what it is from its server's answers."""
        self.may_go_back, self.look_every = self._store.may_go_back, self._store.look_every
        self.head_start = self._store.head_start

    def _read(self, key: str, found: Versioned) -> Versioned:
        text, problem = self._open(key, Secret(found.body), Purpose.RECORD)
        if text is None:
            said = f"the stored record {problem}; nothing was changed"
            raise Unreadable(said, credential=key, version=found.version)
        return Versioned(found.version, text.reveal())

    def _open(self, key: str, kept: Secret, purpose: Purpose) -> tuple[Secret | None, str]:
        """What was kept, decrypted; or None, and why not. Raises `StoreUnavailable` where the keys cannot be had."""
        if not is_sealed(kept.reveal()):
            if self._adopt_plain:
                return kept, ""
            return None, (
                "is not encrypted: if it was stored before encryption was turned on, "
                "say EncryptedStore(…, adopt_plain=True) until it has been written once"
            )
        envelope = parse(kept.reveal())
        lost = f"remove {'it' if purpose is Purpose.SPOOL else f'this record from {self.name}'} and log in again"
        if envelope == NEWER:
            return None, NEWER
        if isinstance(envelope, str):
            return None, f"{envelope}: if it cannot be restored, {lost}"
        ring = self._known
        if ring is None or ring.named(envelope.key) is None:
            ring = self._read_keys()
        found = ring.named(envelope.key)
        if found is None:
            return None, (
                f"was encrypted with another key, {envelope.key} ({ring}): "
                f"give that key too, behind the one that encrypts; if it is lost, {lost}"
            )
        text = unsealed(envelope, found, purpose, key)
        if text is None:
            return None, (
                f"was changed since it was encrypted, or belongs to another credential: "
                f"put the right one back; if there is none, {lost}"
            )
        return text, ""

    def _key_that_writes(self) -> Key:
        ring = self._known
        if ring is None or ring.writes is None:
            ring = self._read_keys()
        if ring.writes is None:
            self._sources[0].make()
            ring = self._read_keys()
        if ring.writes is None:
            raise StoreUnavailable(f"{self._sources[0]} holds no key: remove it if it is empty or a link to nothing")
        return ring.writes

    def _read_keys(self) -> _Ring:
        held = []
        for source in self._sources:
            text = source.read()
            held.append((source, keys_in(text, source) if text else ()))
        self._known = _Ring(tuple(held))
        return self._known
