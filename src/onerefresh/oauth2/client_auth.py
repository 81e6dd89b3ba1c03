"""Client authentication: how a client identifies itself to the token endpoint (RFC 6749 section 2.3)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args
from urllib.parse import quote_plus

from onerefresh.errors import ConfigurationError
from onerefresh.secret import Secret

__all__ = [
    "ClientAuth",
    "Identification",
    "checked_client_auth",
    "checked_client_id",
    "checked_secret",
    "encoding_at_fault",
    "identify",
]

ClientAuth: TypeAlias = Literal["client_secret_basic", "client_secret_basic_plain", "client_secret_post", "none"]
"""Names from OpenID Connect Core section 9; ``none`` is a public client. With ``client_secret_basic_plain`` id and
secret are not form-encoded, although RFC 6749 section 2.3.1 demands it: many servers compare what they get."""


@dataclass(frozen=True, slots=True)
class Identification:
    """What a token request states about its client: an ``Authorization`` header, or fields of the body."""

    authorization: Secret | None
    fields: tuple[tuple[str, str | Secret], ...]


def identify(
    client_auth: ClientAuth, client_id: str, secret: Secret | None, *, id_in_body: bool = False
) -> Identification:
    """The client's identification. `secret` is None only for a public client.

    `id_in_body`: the body states the id, too, beside an ``Authorization`` header.
    """
    if secret is None or client_auth == "none":
        return Identification(None, (("client_id", client_id),))
    if client_auth == "client_secret_post":
        return Identification(None, (("client_id", client_id), ("client_secret", secret)))
    pair = _plain(client_id, secret) if client_auth == "client_secret_basic_plain" else _encoded(client_id, secret)
    basic = Secret("Basic " + base64.b64encode(pair.reveal().encode("utf-8")).decode("ascii"))
    return Identification(basic, (("client_id", client_id),) if id_in_body else ())


def encoding_at_fault(client_auth: ClientAuth, client_id: str, secret: Secret | None) -> str:
    """What to try where a server refuses this client, if id or secret look different once they are form-encoded."""
    if secret is None or _plain(client_id, secret) == _encoded(client_id, secret):
        return ""
    what = "client_id" if quote_plus(client_id) != client_id else "client_secret"
    if client_auth == "client_secret_basic":
        return (
            f": the likely cause is that {what} has characters which RFC 6749 section 2.3.1 lets be form-encoded, and "
            "this server does not decode them; try client_auth='client_secret_basic_plain'"
        )
    if client_auth == "client_secret_basic_plain":
        return (
            f": a likely cause is that {what} has characters which this server wants form-encoded; "
            "try client_auth='client_secret_basic'"
        )
    return ""


def _encoded(client_id: str, secret: Secret) -> Secret:
    """Id and secret for HTTP Basic, form-encoded (RFC 6749 section 2.3.1 and appendix B)."""
    return Secret(f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}")


def _plain(client_id: str, secret: Secret) -> Secret:
    """Id and secret for HTTP Basic as they are (RFC 7617)."""
    return Secret(f"{client_id}:{secret.reveal()}")


def checked_client_id(client_id: object) -> str:
    """The client id. Raises `ConfigurationError` for one that no request can carry."""
    if not isinstance(client_id, str):
        raise ConfigurationError(f"client_id must be a string, not {type(client_id).__name__}")
    if not client_id or not client_id.isprintable():
        raise ConfigurationError(
            f"client_id is not usable: {client_id!r}; give the client ID that is registered at the server"
        )
    return client_id


def checked_secret(secret: object, source: str) -> Secret:
    """The client secret as a `Secret`. `source`: where it came from, for errors.

    Raises `ConfigurationError` for one that no request can carry.
    """
    if isinstance(secret, str):
        secret = Secret(secret)
    if not isinstance(secret, Secret):
        kind = type(secret).__name__
        del secret  # it may be bytes, which a traceback with locals would show
        raise ConfigurationError(f"{source} must be a str or a Secret, not {kind}")
    if not secret:
        raise ConfigurationError(f"{source} is empty: leave client_secret out for a public client")
    if secret.reveal() != secret.reveal().strip("\r\n"):
        raise ConfigurationError(f"{source} begins or ends with a line break, perhaps from a file: remove it")
    if not secret.reveal().isprintable():
        raise ConfigurationError(f"{source} contains characters that cannot be printed: check that it is the right one")
    return secret


def checked_client_auth(
    client_auth: object, *, has_secret: bool, client_id: str = "", id_in_body: bool = False
) -> ClientAuth:
    """`client_auth`, or the usual method where it is None. Raises `ConfigurationError` where it does not fit."""
    if client_auth is None:
        client_auth = "client_secret_basic" if has_secret else "none"
    for known in get_args(ClientAuth):
        if client_auth == known:
            if has_secret == (known == "none"):
                needs = "takes no client_secret: leave it out" if has_secret else "needs a client_secret"
                raise ConfigurationError(f"client_auth {known!r} {needs}")
            if known == "client_secret_basic_plain" and ":" in client_id:
                raise ConfigurationError(
                    f"client_auth {known!r} cannot send a client_id with a colon, at which the secret begins "
                    "(RFC 7617): use 'client_secret_basic'"
                )
            if id_in_body and not known.startswith("client_secret_basic"):
                raise ConfigurationError(
                    f"client_id_in_body is for HTTP Basic: {known!r} sends the id in the body anyway"
                )
            method: ClientAuth = known
            return method
    raise ConfigurationError(f"unknown client_auth {client_auth!r}: use one of {', '.join(get_args(ClientAuth))}")
