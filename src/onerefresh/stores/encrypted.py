"""The encrypted store: any other store, with nothing but ciphertext in it and in its credentials' spool."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from onerefresh.errors import ConfigurationError, StoreUnavailable
from onerefresh.pause import Wakeup
from onerefresh.secret import Secret
from onerefresh.store import (
    AdvisoryLock,
    Store,
    StoreOfOurs,
    StoreTime,
    Unreadable,
    Versioned,
    is_sealed,
    no_text,
    subscribed,
    text_of,
)
from onerefresh.stores import open_store
from onerefresh.stores.envelope import NEWER, Key, Purpose, digest_of, need_cryptography, parse, sealed, unsealed
from onerefresh.stores.keys import KeySource, keys_in, source_of

__all__ = ["EncryptedStore"]


@dataclass(frozen=True, slots=True)
class _Ring:
    """The known keys, by source. The first key of the first source encrypts; each key decrypts."""

    held: tuple[tuple[KeySource, tuple[Key, ...]], ...]

    @property
    def writes(self) -> Key | None:
        (_, keys), *_others = self.held
        return keys[0] if keys else None

    def named(self, key_id: str) -> Key | None:
        return next((key for _, keys in self.held for key in keys if key.id == key_id), None)

    def __str__(self) -> str:
        parts = [f"{source} holds {' and '.join(key.id for key in keys) or 'no key'}" for source, keys in self.held]
        return ", ".join(parts)


class _Problem(NamedTuple):
    """Why a text was not opened. `damaged`: nobody can open it any more, so that a login may overwrite it."""

    message: str
    damaged: bool = False


class EncryptedStore(StoreOfOurs):
    """`store` (a `Store`, or a URL) with everything that it holds encrypted.

    * `keys`: one source or several: `KeyFile`, `EnvironmentKey`, `KeyringKey`, or a function that returns keys. The
      first key of the first source encrypts; each key decrypts, and a record is encrypted anew whenever it is written.
      Sources are read when a key is needed, and again for an envelope whose key is not known yet.
    * `context`: a text that says where this store belongs, such as ``"production"``. A text that was encrypted under
      another context does not open here. The context is no secret, and the same in each program. A text that was
      encrypted without a context opens until it is written again, and never with `require_context`.
    * `adopt_plain`: read records that were stored without encryption, too. Their next write encrypts them.

    A record that another key or context would open raises `StoreUnavailable` and stays as it is, whatever is asked for,
    also a login; only `Credentials.delete` overwrites it. A login or a logout overwrites a record that nothing opens
    any more.

    Raises `ConfigurationError` for arguments that cannot work, or where the package `cryptography` is missing.
    """

    closes_with_its_users = False
    """Whether the last credential that uses it closes it: not where somebody has made it, and holds it."""

    def __init__(
        self,
        store: str | Store,
        *keys: KeySource | Callable[[], object],
        context: str | None = None,
        require_context: bool = False,
        adopt_plain: bool = False,
    ) -> None:
        if not keys:
            raise ConfigurationError("an EncryptedStore needs a key: EncryptedStore(store, KeyFile(PATH))")
        self._context = _checked_context(context)
        if require_context and (context is None or adopt_plain):
            missing = "needs a context" if context is None else "contradicts adopt_plain=True: leave one of them out"
            raise ConfigurationError(f"require_context=True {missing}")
        self._require_context = require_context
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
            encrypted = sealed(body, self._key_that_writes(), Purpose.RECORD, key, self._context)
        finally:
            del body  # it holds tokens, and would show in a traceback with locals
        return self._store.cas(key, expected, encrypted)

    def remove(self, key: str, expected: str) -> None:
        self._store.remove(key, expected)

    def seal(self, key: str, text: str) -> str:
        try:
            return sealed(text, self._key_that_writes(), Purpose.SPOOL, key, self._context)
        finally:
            del text  # it holds tokens, and would show in a traceback with locals

    def unseal(self, key: str, text: str) -> str:
        kept = Secret(text)
        del text  # it may not be encrypted, and hold tokens
        opened, problem = self._open(key, kept, Purpose.SPOOL)
        if opened is None:
            message = f"the spooled token {problem.message}; nothing was changed"
            raise Unreadable(message, credential=key, damaged=problem.damaged)
        return opened.reveal()

    def wait(self, key: str, version: str, timeout: float) -> None:
        self._store.wait(key, version, timeout)

    def subscribe(self, key: str, version: str, since: float, wake: Callable[[], object]) -> Wakeup | None:
        return subscribed(self._store, key, version, since, wake)

    def _that_waits(self) -> Store:
        mine, passed_on = type(self), EncryptedStore
        if mine.wait is not passed_on.wait or mine.subscribe is not passed_on.subscribe:
            return self
        return self._store._that_waits()

    def hold(self, key: str) -> AdvisoryLock | None:
        return self._store.hold(key)

    def moment(self) -> StoreTime | None:
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
        """Take over the store's attributes: a store may learn from its server's answers what it is."""
        self.may_go_back, self.look_every = self._store.may_go_back, self._store.look_every
        self.head_start = self._store.head_start

    def _read(self, key: str, found: Versioned) -> Versioned:
        body = text_of(found.body)  # a user's store may return anything
        if body is None:
            raise no_text(key, found.version)
        text, problem = self._open(key, Secret(body), Purpose.RECORD)
        del body  # it may hold tokens, as in `cas`
        if text is None:
            message = f"the stored record {problem.message}; nothing was changed"
            raise Unreadable(message, credential=key, version=found.version, damaged=problem.damaged)
        return Versioned(found.version, text.reveal())

    def _open(self, key: str, kept: Secret, purpose: Purpose) -> tuple[Secret | None, _Problem]:
        """The decrypted text; or None, and why not. Raises `StoreUnavailable` where the keys cannot be read."""
        again = "restore it, or remove the file" if purpose is Purpose.SPOOL else "restore it, or log in again"
        if not is_sealed(kept.reveal()):
            if self._adopt_plain:
                return kept, _Problem("")
            if not _is_plain(kept):
                return None, _Problem(f"is not encrypted and is damaged: {again}", damaged=True)
            return None, _Problem(
                "is not encrypted: if it was stored before encryption was turned on, "
                "use EncryptedStore(…, adopt_plain=True) until it has been written once"
            )
        envelope = parse(kept.reveal())
        if envelope == NEWER:
            return None, _Problem(NEWER)
        if isinstance(envelope, str):
            return None, _Problem(f"{envelope}: {again}", damaged=True)
        if (problem := self._is_elsewhere(envelope.context)) is not None:
            return None, _Problem(problem)
        ring = self._known
        if ring is None or ring.named(envelope.key) is None:
            ring = self._read_keys()
        found = ring.named(envelope.key)
        if found is None:
            lost = f"remove {'it' if purpose is Purpose.SPOOL else f'this record from {self.name}'} and log in again"
            return None, _Problem(
                f"was encrypted with another key, {envelope.key} ({ring}): "
                f"give that key too, after the key that encrypts; if it is lost, {lost}"
            )
        text = unsealed(envelope, found, purpose, key, self._context)
        if text is None:
            message = f"was changed since it was encrypted, or belongs to another credential: {again}"
            return None, _Problem(message, damaged=True)
        return text, _Problem("")

    def _is_elsewhere(self, digest: str | None) -> str | None:
        """Why an envelope with this context must not be opened here; None where it may be."""
        context = self._context
        if digest is None:
            if not self._require_context:
                return None
            return (
                f"was encrypted without a context, and require_context=True refuses it for {context!r}: leave that out "
                "until the record has been written once, if you know that it belongs here"
            )
        if context is None:
            return "was encrypted for a context, and this store has none: open it with the right context="
        if digest != digest_of(context):
            return (
                f"was encrypted for another context than {context!r}: it was copied from another place, or context= "
                "was changed; open it with the context that it was written with"
            )
        return None

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


def _checked_context(context: object) -> str | None:
    if context is None or (isinstance(context, str) and context):
        return context
    raise ConfigurationError("context must be a non-empty string, such as 'production', or None")


def _is_plain(text: Secret) -> bool:
    """Whether the text may be a record or a spooled token without encryption: both have a field named ``token``."""
    try:
        fields = json.loads(text.reveal())
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and "token" in fields
