"""Copies between stores of every kind, killed at every step, and live ones with old and new workers beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.credentials.tenants import until
from tests.moving.worker import KEYS
from tests.package import ROOT

from onerefresh import Credential, CredentialMoved, Credentials
from onerefresh.moving import copy
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record_text import decode
from onerefresh.store import Versioned
from onerefresh.stores import open_store
from onerefresh.testing import AuthServer

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

PATIENCE = 60.0
KINDS = ["sqlite", "postgres", "redis"]
PAIRS = [(source, target) for source in KINDS for target in KINDS]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture
def urls(request: pytest.FixtureRequest, new_store: Callable[[str], str], tmp_path: Path) -> tuple[str, str]:
    """Two empty stores of the kinds of the test."""
    source, target = request.param
    return new_store(source), f"sqlite:///{tmp_path}/new/new.db" if target == "sqlite" else new_store(target)


def endpoint(server: AuthServer) -> TokenEndpoint:
    return TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)


def log_in(server: AuthServer, url: str, *keys: str) -> None:
    with Credentials(endpoint(server), store=url) as customers:
        for key in keys:
            customers[key].login(server.issue())


def refreshed(server: AuthServer, url: str, key: str) -> None:
    """The session lives, and goes on in this store."""
    before = server.counters.refreshes
    with Credential(key, endpoint(server), store=url) as credential:
        credential.token(refused=credential.token())
    assert server.counters.refreshes > before


@pytest.mark.parametrize("urls", PAIRS, ids="-".join, indirect=True)
def test_every_session_arrives_in_a_store_of_every_kind(auth_server: AuthServer, urls: tuple[str, str]) -> None:
    keys = ["a", "b/ü 🗝", "x" * 512, *map(str, range(30))]
    log_in(auth_server, urls[0], *keys)
    with Credentials(endpoint(auth_server), store=urls[0]) as customers:
        customers["a"].logout()
    done = copy(*urls, verify=True)
    assert (done.total, done.moved, done.failed, done.differ) == (len(keys), len(keys), {}, {})
    source = open_store(urls[0])
    for key, found in source.scan():
        assert isinstance(found, Versioned)
        record = decode(found.body, key)
        assert (record.moved_to, record.token) == (open_store(urls[1]).name, None)
    refreshed(auth_server, urls[1], "b/ü 🗝")
    with Credential("0", endpoint(auth_server), store=urls[0]) as old, pytest.raises(CredentialMoved):
        old.token()
    back = copy(urls[1], urls[0], verify=True)
    assert (back.moved, back.failed, back.differ) == (len(keys), {}, {})
    refreshed(auth_server, urls[0], "1")
    assert auth_server.counters.reuse_detected == 0


@pytest.mark.parametrize(
    "urls", [("sqlite", "postgres"), ("postgres", "redis"), ("redis", "sqlite")], ids="-".join, indirect=True
)
def test_killed_at_every_step_nothing_is_lost(auth_server: AuthServer, urls: tuple[str, str]) -> None:
    source = open_store(urls[0])
    for step in range(1, 60):
        key = f"killed at {step}"
        log_in(auth_server, urls[0], key)
        command = [sys.executable, "-m", "tests.moving.dying", *urls, str(step)]
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
        if step % 2:  # a new worker goes on where the copy has stopped, else the next copy does
            with Credential(key, endpoint(auth_server), store=urls[1], moved_from=urls[0]) as new:
                assert new.token().generation == 1
        assert copy(*urls, verify=True).differ == {}
        refreshed(auth_server, urls[1], key)
        left = source.load(key)
        assert left is not None
        source.remove(key, left.version)  # so that the next copy has as many steps
        if child.returncode == 0:
            break
        assert child.returncode == -9, child.stderr
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) >= 12
    assert auth_server.counters.reuse_detected == 0


class Worker:
    """A process of `worker`."""

    def __init__(self, server: AuthServer, *stores: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.moving.worker", server.token_url, *stores],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self._child.kill()
        self._child.communicate()

    def result(self, *, stop: bool) -> dict[str, Any]:
        """What it says in the end. `stop`: it ends when it is told to, else by itself."""
        assert self._child.stdout is not None
        if stop:
            said = self._child.communicate(timeout=PATIENCE)[0]
        else:
            said = self._child.stdout.readline()
            self._child.communicate(timeout=PATIENCE)
        found: dict[str, Any] = json.loads(said)
        return found


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    with ExitStack() as workers:

        def started(server: AuthServer, *stores: str) -> Worker:
            worker = Worker(server, *stores)
            workers.callback(worker.kill)
            return worker

        yield started


@pytest.mark.parametrize("urls", [("sqlite", "postgres"), ("postgres", "redis")], ids="-".join, indirect=True)
def test_a_live_copy_beside_old_and_new_workers_spends_no_refresh_token_twice(
    new_auth_server: Callable[..., AuthServer], urls: tuple[str, str], start: Callable[..., Worker]
) -> None:
    server = new_auth_server(expires_in=3.0)  # each token ends while the test runs
    log_in(server, urls[0], *KEYS)
    old = [start(server, urls[0]) for _ in range(2)]
    new = [start(server, urls[1], urls[0]) for _ in range(2)]
    server.wait_for("token_sent", 2 * len(KEYS), timeout=PATIENCE)
    done = copy(*urls, verify=True)
    assert (done.failed, done.differ) == ({}, {})
    for worker in old:  # they end by themselves: each of their credentials has moved
        said = worker.result(stop=False)
        assert (said["moved"], said["problems"]) == (len(KEYS), [])
    for worker in new:
        said = worker.result(stop=True)
        assert (said["moved"], said["problems"]) == (0, [])
        assert said["tokens"] > 0
    assert server.counters.refreshes >= 2 * len(KEYS)
    assert server.counters.reuse_detected == 0
    with Credentials(endpoint(server), store=urls[1]) as customers:
        now = {key: customers[key].token().generation for key in KEYS}
        until(lambda: all(customers[key].token().generation > now[key] for key in KEYS), "each of them goes on")
    assert server.counters.reuse_detected == 0
