"""Messages in the words of the command: they speak of its options and of the configuration file, not of Python.

The library's messages name arguments and methods, which a person at a terminal does not have.
"""

from __future__ import annotations

import re

__all__ = ["for_command"]

_NAME = "\0"
"""Stands for the credential's name."""
_LOGIN = f"onerefresh login {_NAME} --with-token"
_HINTS: tuple[tuple[str, str], ...] = (
    ("before retry() or a login", f"before onerefresh retry {_NAME} or a login"),
    ("correct them and call retry()", f"correct them and run onerefresh retry {_NAME}"),
    ("retry() would send", f"onerefresh retry {_NAME} would send"),
    ("log in, or pass a first one with token=", "log in"),
    ("the session that began with token= is over", "the session is over"),
    ("login() needs a token response, or obtain=", f"a token response is needed: pipe it into {_LOGIN}"),
    (
        "Give stored tokens with token= or token_for=, which never replace a newer one; or log in at the server, and "
        "pass its new answer",
        f"Log in at the server, and pipe its new answer into: {_LOGIN}",
    ),
    ("consent with adopt=True or onerefresh adopt NAME", f"consent with: onerefresh adopt {_NAME}"),
    ("or open that store with moved_from= this one", "or name both stores in the configuration file (moved_from)"),
    ("open that store instead of this one", "name that store in the configuration file"),
    ("moved_from= names the store itself", "moved_from names the store itself"),
    ("use a durable store, or save=", 'write store = "sqlite", or the URL of a durable store'),
    ("use another store, or save=", 'write store = "sqlite", or the URL of another store'),
    ("open its store as an EncryptedStore, with its key", "the configuration file has to give its key"),
    ("or set allow_unencrypted_http=True", "or a refresher that sets allow_unencrypted_http itself"),
    ("open the store with durable=True", "add ?durable=yes to its URL"),
    ("durable=True needs", "?durable=yes needs"),
    (
        "Pass the login's answer through answer_of(), with its cookies, or add that name to extra= of the Token",
        f"Pipe the login's whole answer into {_LOGIN}, with that name beside its tokens",
    ),
    ("(Credentials.delete, or onerefresh logout NAME)", f"(onerefresh logout {_NAME})"),
    ("name its place with fields=", "name its place with fields in the configuration file"),
    ("name its place with answer=", "name its place with answer in the configuration file"),
    ("or say with dead= that", "or say with dead in the configuration file that"),
    (", 'grace:SECONDS', or a Profile", " or 'grace:SECONDS'"),
)
_SETTINGS = re.compile(r"\b(answer|body|cookies|dead|fields|grant|headers|keep|query|renamed)=")
"""Arguments of an endpoint that are keys of the configuration file, too."""
_METHODS = re.compile(r"\bretry\(\)")


def for_command(message: str, name: str | None = None) -> str:
    """`message` as the command shows it. `name`: the credential's; None where it is not known."""
    for words, own in _HINTS:
        if words in message:
            message = message.replace(words, own)
    message = _SETTINGS.sub(r"\1", message.replace("grant='client_credentials'", 'grant = "client_credentials"'))
    message = _METHODS.sub(f"onerefresh retry {_NAME}", message)
    return message.replace(_NAME, "NAME" if name is None else _quoted(name))


def _quoted(name: str) -> str:
    """The name as a shell takes it for one word."""
    import shlex

    return shlex.quote(name)
