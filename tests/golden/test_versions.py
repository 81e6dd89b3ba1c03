"""The oldest version that reads what it does not know, and the present one, work on one store at the same time: on a
file of SQLite, a table of PostgreSQL and a server of Redis.

The old one comes from this repository's own history: the source of the commit that is found by its subject, unpacked
and put before everything else on the path of its processes. A wheel of this package holds the very same files, and
building one would need the network. Where there is no history, as in an sdist, this is skipped, and says so.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from tests.package import ROOT, alone

from onerefresh import Credential
from onerefresh.moving import copy
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record_text import decode, encode
from onerefresh.secret import Secret
from onerefresh.store import Store
from onerefresh.stores import open_store
from onerefresh.testing import AuthServer
from onerefresh.transitions import moving

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("unmeasured")]

OLDEST = "Read what a newer version stored, keep it, and write it back"
"""The subject of the commit that is the old version for good. (A hash would change with every rebase.)"""
WORKER = Path(__file__).with_name("worker.py")
LATER: dict[str, Any] = {"later": {"nested": [1, None, "a"]}}


def git(*arguments: str) -> bytes:
    """What git says, whoever owns this folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which the old version is imported."""
    if not (ROOT / ".git").exists():
        pytest.skip("no old version beside the present one was run: this is no clone of the repository")
    found = git("log", "--format=%H %s").decode().splitlines()
    commits = [line.partition(" ")[0] for line in found if line.partition(" ")[2] == OLDEST]
    if not commits and git("rev-parse", "--is-shallow-repository").strip() == b"true":
        pytest.skip("no old version beside the present one was run: this clone is shallow")
    assert commits, f"no commit has the subject {OLDEST!r}: was it reworded?"
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(git("archive", commits[-1], "src"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def place(
    request: pytest.FixtureRequest, new_store: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URL of an empty store, which both versions open."""
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
    return new_store(request.param)


class Version:
    """A process of one version."""

    def __init__(self, source: Path, server: AuthServer, place: str, folder: Path) -> None:
        config = {"url": server.token_url, "client_id": server.client_id, "client_secret": server.client_secret}
        self._child = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps({**config, "store": place})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(source)},
        )
        assert Path(self.hear()).is_relative_to(source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    def say(self, command: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(f"{command}\n")
        self._child.stdin.flush()

    def hear(self) -> Any:
        assert self._child.stdout is not None
        return json.loads(self._child.stdout.readline())

    def ask(self, command: str) -> Any:
        self.say(command)
        return self.hear()

    def end(self) -> None:
        self._child.communicate()
        assert self._child.returncode == 0


@pytest.fixture
def server() -> Iterator[AuthServer]:
    with AuthServer("revoke_family") as server:
        yield server


def log_in(store: Store, server: AuthServer) -> None:
    login = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
    with Credential("acme", login, store=store) as acme:
        acme.login(server.issue())


def body_of(store: Store) -> dict[str, Any]:
    found = store.load("acme")
    assert found is not None
    return dict(json.loads(found.body))


def test_an_old_version_drops_the_checksum_and_the_present_one_reads_what_it_wrote(
    old: Path, server: AuthServer, place: str, tmp_path: Path
) -> None:
    """A stale one would be damage. Each version writes once more than the other has, and the other goes on from it."""
    store = open_store(place)
    log_in(store, server)
    with Version(old, server, place, tmp_path) as early, Version(Path(alone()), server, place, tmp_path) as late:
        for each, has_one in ((early, False), (late, True), (early, False), (late, True)):
            if each.ask("token")[0] != body_of(store)["generation"]:
                each.ask("refused")  # it adopts the other's
            newer_version_writes(store, checksum=None)
            assert each.ask("refused")[0] == body_of(store)["generation"] == server.counters.token_requests + 1
            assert ("checksum" in body_of(store)) == has_one
        early.end()
        late.end()
    assert server.counters.token_requests == 4
    assert server.counters.reuse_detected == 0


def newer_version_writes(store: Store, checksum: str | None = "of the whole") -> None:
    """The present record with the fields of a version to come. Its probation ends, as by a call that went well."""
    found = store.load("acme")
    assert found is not None
    fields = {**LATER, **json.loads(found.body), "probation": None, "checksum": checksum}
    fields["token"] |= LATER
    fields["history"] = [[*entry[:3], "host", 7] for entry in fields["history"]]
    store.cas("acme", found.version, json.dumps(fields))


def test_an_old_and_a_new_version_refresh_in_turn_and_at_once(
    old: Path, server: AuthServer, place: str, tmp_path: Path
) -> None:
    store = open_store(place)
    log_in(store, server)
    with Version(old, server, place, tmp_path) as early, Version(Path(alone()), server, place, tmp_path) as late:
        assert early.ask("token") == late.ask("token")
        generation = 1
        for one, other in ((early, late), (late, early)) * 2:
            newer_version_writes(store)
            fresh = one.ask("refused")
            assert other.ask("refused") == fresh, "it has not seen the other's new token"
            newer_version_writes(store)
            for each in (one, other):
                each.say("refused")
            fresh = one.hear()
            assert other.hear() == fresh
            generation += 2
            assert fresh[0] == generation
            assert server.counters.token_requests == generation - 1
            kept = body_of(store)
            assert kept["later"] == LATER["later"]
            assert kept.get("checksum", "sha256:").startswith("sha256:")  # the present version's, or none
            assert [entry[3:] for entry in kept["history"][:-2]] == [["host", 7]] * (len(kept["history"]) - 2)
        assert early.ask("logout") is not None
        assert late.ask("refused") == ["LoginRequired"]
        again = server.issue()
        told = late.ask(f"login {again['access_token']} {again['refresh_token']}")
        assert early.ask("token") == told == [generation + 2, Secret(str(again["access_token"])).fingerprint()]
        assert body_of(store)["later"] == LATER["later"]
        early.end()
        late.end()
    assert server.counters.token_requests == generation - 1, "a login is not refreshed"
    assert server.counters.reuse_detected == 0


@pytest.mark.parametrize("is_finished", [True, False])
def test_an_old_version_sends_nothing_for_a_session_that_was_moved_and_goes_on_where_it_comes_back(
    old: Path, server: AuthServer, place: str, tmp_path: Path, *, is_finished: bool
) -> None:
    """It takes it for logged out. It neither puts back the token that it knows, nor writes over the one on its way."""
    store, elsewhere = open_store(place), open_store(f"sqlite:///{tmp_path}/elsewhere/tokens.db")
    log_in(store, server)
    with Version(old, server, place, tmp_path) as early, Version(old, server, place, tmp_path) as other:
        first = early.ask("token")
        if is_finished:
            assert copy(store, elsewhere).moved == 1
        else:
            found = store.load("acme")
            assert found is not None
            mark = moving(decode(found.body, "acme"), elsewhere.name, id="a move", now=1.0)
            store.cas("acme", found.version, encode(mark))
        before = store.load("acme")
        for version in (early, other):
            assert version.ask("refused") == ["LoginRequired"]
        assert store.load("acme") == before
        if not is_finished:
            assert copy(store, elsewhere).moved == 1
        assert copy(elsewhere, store, verify=True).differ == {}
        time.sleep(1.1)  # an error is repeated for a second
        for version in (early, other):
            assert version.ask("token") == first
        early.end()
        other.end()
    assert server.counters.token_requests == 0


def test_an_old_version_refreshes_what_has_a_refresh_token_alone(
    old: Path, server: AuthServer, place: str, tmp_path: Path
) -> None:
    """The stand-in for its access token is never sent, since it counts as over."""
    store = open_store(place)
    login = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)
    with Credential("acme", login, store=store) as acme:
        acme.login({"refresh_token": server.issue()["refresh_token"]})
    with Version(old, server, place, tmp_path) as early, Version(Path(alone()), server, place, tmp_path) as late:
        assert early.ask("token")[0] == 2
        assert late.ask("token")[0] == 2
        early.end()
        late.end()
    assert server.counters.token_requests == 1
