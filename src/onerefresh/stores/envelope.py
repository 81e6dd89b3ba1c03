"""The envelope: an encrypted text, with all that is needed to open it but the key.

AES-256-GCM with a random nonce of 96 bits (NIST SP 800-38D section 8.2.2). The kind of text, its credential, its
generation and the store's context, if any, are bound to it as associated data. So an envelope that was changed, or put
in the place of another one, does not open.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import json
import os
import re
from dataclasses import dataclass, field

from onerefresh.errors import ConfigurationError
from onerefresh.secret import Secret
from onerefresh.store import SEALED

__all__ = [
    "KEY_BYTES",
    "NEWER",
    "Envelope",
    "Key",
    "Purpose",
    "digest_of",
    "need_cryptography",
    "parse",
    "sealed",
    "unsealed",
]

SCHEMA = 2
"""The schema of an envelope that is bound to a context. Without a context it is 1, which older versions read."""
KEY_BYTES = 32
NONCE_BYTES = 12
ALGORITHM = "A256GCM"  # the name in RFC 7518 section 5.1


NEWER = "was encrypted by a newer version of onerefresh: update onerefresh"


class Purpose(enum.StrEnum):
    """What an envelope holds. One kind cannot stand in for the other."""

    RECORD = "record"
    SPOOL = "spool"


class Key:
    """An AES key of 32 bytes. `id`: 16 hexadecimal digits of its digest, by which envelopes name it."""

    __slots__ = ("cipher", "id")

    def __init__(self, material: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.id = hashlib.sha256(b"onerefresh key:" + material).hexdigest()[:16]
        self.cipher = AESGCM(material)

    def __repr__(self) -> str:
        return f"Key({self.id})"


@dataclass(frozen=True, slots=True)
class Envelope:
    """The fields of an envelope; none of them can be trusted before `unsealed` has opened it.

    `context`: a digest of the context to which it is bound, which tells a wrong context from damage; None without one.
    """

    key: str
    generation: int | None
    nonce: bytes
    ciphertext: bytes = field(repr=False)
    context: str | None = None


def need_cryptography() -> None:
    """Raise `ConfigurationError` where the package is missing."""
    try:
        import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401 - whether it is there
    except ImportError as error:
        missing = error.name
    else:
        return
    raise ConfigurationError(
        f"encryption needs a package that is not installed ({missing}): run pip install 'onerefresh[crypto]'"
    )


def digest_of(context: str) -> str:
    """What an envelope says of its context. It is no secret: anybody can compare a guess with it."""
    return hashlib.sha256(b"onerefresh context:" + context.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def sealed(text: str, key: Key, purpose: Purpose, name: str, context: str | None = None) -> str:
    """`text` of the credential `name`, encrypted with `key`."""
    generation, nonce = _generation(text), os.urandom(NONCE_BYTES)
    bound = _bound(key.id, generation, purpose, name, context)
    ciphertext = key.cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), bound)
    rest = {
        "schema": 1 if context is None else SCHEMA,
        **({} if context is None else {"context": digest_of(context)}),
        "key": key.id,
        "generation": generation,
        "nonce": base64.b64encode(nonce).decode("ascii"),
        "ciphertext": base64.b64encode(ciphertext).decode("ascii"),
    }
    return f'{SEALED}"{ALGORITHM}",{json.dumps(rest, separators=(",", ":"))[1:]}'


def parse(text: str) -> Envelope | str:
    """The envelope in a sealed text; or in words why there is none."""
    try:
        fields = json.loads(text)
        schema, algorithm = fields["schema"], fields["sealed"]
        if type(schema) is not int or schema < 1 or not isinstance(algorithm, str):
            return "is damaged"
        if schema > SCHEMA or algorithm != ALGORITHM:
            return NEWER
        key, generation = fields["key"], fields["generation"]
        context = fields["context"] if schema == SCHEMA else None
        digests = [key] if schema == 1 else [key, context]
        if not all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests):
            return "is damaged"
        if type(generation) not in (int, type(None)):
            return "is damaged"
        return Envelope(
            context=context,
            key=key,
            generation=generation,
            nonce=base64.b64decode(fields["nonce"], validate=True),
            ciphertext=base64.b64decode(fields["ciphertext"], validate=True),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return "is damaged"


def unsealed(envelope: Envelope, key: Key, purpose: Purpose, name: str, context: str | None = None) -> Secret | None:
    """The text; None where it was changed, or sealed for another purpose, credential or context.

    An envelope without a context opens in any context.
    """
    from cryptography.exceptions import InvalidTag

    if envelope.context is None:
        context = None
    elif context is None:
        return None
    bound = _bound(key.id, envelope.generation, purpose, name, context)
    try:
        return Secret(key.cipher.decrypt(envelope.nonce, envelope.ciphertext, bound).decode("utf-8", "surrogatepass"))
    except (InvalidTag, ValueError):  # ValueError: a nonce of an impossible length
        return None


def _bound(key_id: str, generation: int | None, purpose: Purpose, name: str, context: str | None = None) -> bytes:
    parts = [purpose.value, name, key_id, generation]
    parts = [ALGORITHM, 1, *parts] if context is None else [ALGORITHM, SCHEMA, *parts, context]
    return json.dumps(parts).encode("ascii")


def _generation(text: str) -> int | None:
    """The generation of a record or a spooled token; None where the text is neither."""
    try:
        generation = json.loads(text)["generation"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    return generation if type(generation) is int else None
