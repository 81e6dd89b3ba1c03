"""A process of its own without POSIX: ``python -m tests.without_posix.program locks|nothing JOB [ARGUMENT …]``."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.without_posix import shim

if TYPE_CHECKING:
    from onerefresh import Credential

RUN = ("onerefresh.__main__", "onerefresh.testing.__main__")
"""What is run when it is imported."""


def modules() -> list[str]:
    """Every module of the package is imported; their number."""
    import onerefresh

    found = [one.name for one in pkgutil.walk_packages(onerefresh.__path__, "onerefresh.")]
    for name in found:
        if name not in RUN:
            importlib.import_module(name)
    from onerefresh.stores import flock

    assert flock.fcntl is None
    return found


def shared_clock() -> list[float]:
    """The clock that the stores on servers read beside their server's."""
    from onerefresh.stores.flock import shared_seconds

    return [shared_seconds(), shared_seconds()]


def acme(answer: str, url: str, store: str, **options: Any) -> Credential:
    """The credential of a test server in mode ``grace``, with the given store."""
    from onerefresh import Credential
    from onerefresh.oauth2 import TokenEndpoint

    login = TokenEndpoint(url, client_id="client", client_secret="secret")
    return Credential("acme", login, token=json.loads(answer), store=store, profile="grace:3600", **options)


def refreshes(answer: str, url: str, store: str) -> str:
    """Report the first token as refused once all are ready; the next one."""
    with acme(answer, url, store) as credential:
        refused = credential.token()
        print(json.dumps("ready"), flush=True)
        sys.stdin.readline()
        return credential.token(refused=refused, max_wait=20.0).reveal()


def paths(answer: str, url: str, folder: str) -> dict[str, Any]:
    """What a program does with files: stores, a spool file, a key file, the configuration file and the command."""
    from onerefresh import load
    from onerefresh.cli import main
    from onerefresh.record import Grant
    from onerefresh.renewal.world import Spooled
    from onerefresh.spool import Spool
    from onerefresh.stores import open_store
    from onerefresh.token_response import parse_answer

    config = Path(folder, "onerefresh.toml")
    config.write_text(
        f'store = "sqlite:///tokens.db"\nencrypt = {{ file = "acme.key" }}\n[credentials.acme]\n'
        f'token_endpoint = "{url}"\nclient_id = "client"\nclient_secret = {{ file = "secret" }}\n'
    )
    Path(folder, "secret").write_text("secret")
    with acme(answer, url, "memory") as credential:
        in_memory = credential.token(refused=credential.token()).generation
    with load("acme", config=config) as credential:
        credential.login(json.loads(answer))
        refreshed = credential.token(refused=credential.token()).generation
    code = main(["--config", str(config), "token", "acme"])
    status = main(["--config", str(config), "status"])
    spool = Spool(open_store(f"sqlite:///{folder}/tokens.db"), "acme")
    entry = Spooled("family", 1, "attempt", Grant.REFRESH, False, parse_answer(json.loads(answer), at=0.0))
    written, found = spool.write(entry), spool.read()
    spool.drop(entry)
    return {
        "memory": in_memory,
        "sqlite": refreshed,
        "codes": [code, status],
        "spool": [written, found is not None and found.attempt, spool.read()],
        "key": Path(folder, "acme.key").exists(),
    }


def proof(database: str) -> dict[str, Any]:
    """What a lock proves, and whether another handle gets it meanwhile and afterwards."""
    from onerefresh.stores.sqlite import SQLiteStore

    store = SQLiteStore(database)
    first = store.hold("acme")
    assert first is not None
    second = store.hold("acme")
    first.release()
    third = store.hold("acme")
    return {
        "proof": first.death_proof,
        "meanwhile": second is not None,
        "again": third is not None and third.death_proof == first.death_proof,
    }


if __name__ == "__main__":
    kind, job, *arguments = sys.argv[1:]
    shim.begin(locks=kind == "locks")
    print(json.dumps(globals()[job](*arguments)), flush=True)
