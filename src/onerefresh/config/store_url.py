"""A store's URL in the configuration file, with relative paths that start at that file, not at the working folder."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

__all__ = ["placed"]

SQLITE = "sqlite:///"
FILES = frozenset(
    {
        *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),  # of Redis
        *("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile"),  # of PostgreSQL
    }
)
"""Parameters that name a file.

The file of a certificate authority decides which server is trusted, so a user who can write it decides, too.
"""


def placed(store: str, folder: Path) -> str:
    """The URL, with relative paths in it made to start in `folder`."""
    address, mark, query = store.partition("?")
    if store.startswith(SQLITE):
        path = address.removeprefix(SQLITE)
        if not path or path.startswith("~") or Path(path).is_absolute():
            return store
        return f"{SQLITE}{folder / path}{mark}{query}"
    return f"{address}{mark}{'&'.join(_placed(parameter, folder) for parameter in query.split('&'))}"


def _placed(parameter: str, folder: Path) -> str:
    name, mark, value = parameter.partition("=")
    path = unquote(value)
    if name not in FILES or path in ("", "system") or Path(path).is_absolute():  # the system's own authorities
        return parameter
    return f"{name}{mark}{quote(str(folder / path))}"
