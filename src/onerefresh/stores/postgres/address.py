"""The address in a PostgreSQL URL, or in a pool's arguments: what may be shown of it, and what names the place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onerefresh.errors import ConfigurationError
from onerefresh.secret import Secret
from onerefresh.stores.postgres.exchange import pq, psycopg

__all__ = ["Parameters", "checked", "parsed", "place_of"]


@dataclass(frozen=True, slots=True, repr=False)
class Parameters:
    held: dict[str, Any]


def parsed(url: Secret) -> Parameters:
    """The URL's parameters. Nothing is raised here, since the parser's exceptions may hold a password."""
    try:
        return Parameters(psycopg.conninfo.conninfo_to_dict(url.reveal()))
    except (psycopg.Error, UnicodeError):  # a UnicodeError holds the whole password
        return Parameters({"port": "unreadable"})


def place_of(parameters: Parameters) -> str | None:
    """The place to which these parameters lead; None where that is no place, but may be a part of a password."""
    given = {default.keyword.decode(): (default.val or b"").decode() for default in pq.Conninfo.get_defaults()}
    given |= {name: str(value) for name, value in parameters.held.items() if value is not None}
    host = given.get("host") or given.get("hostaddr") or "localhost"
    database = given.get("dbname") or given.get("user") or ""
    ports = given.get("port") or "5432"
    if "@" in host + database + given.get("user", "") or not all(port.isdecimal() for port in ports.split(",") if port):
        return None
    # A user's or a connection's search path may lead to another table of the same name.
    user = f"{parameters.held['user']}@" if parameters.held.get("user") else ""
    path = f"#options-{Secret(given['options']).fingerprint()[:8]}" if given.get("options") else ""
    service = f"?service={given['service']}" if given.get("service") else ""
    return f"postgresql://{user}{host}:{ports}/{database}{service}{path}"


def checked(place: str | None, what: str) -> str:
    if place is None:
        raise ConfigurationError(
            f"the PostgreSQL {what} cannot be read: write postgresql://USER@HOST:PORT/DATABASE, and in the user name "
            "and password write @ as %40, / as %2F, : as %3A, ? as %3F"
        )
    return place
