"""Without what Windows does not have, as far as Linux can show it: everything imports, and the main paths work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import PATIENCE
from tests.package import PACKAGE, ROOT

from onerefresh.testing import AuthServer

KINDS = ["locks", "nothing"]
"""With a module `msvcrt`, and without any locks on files."""


class Programs:
    """Processes without POSIX. Those that are left at the end of a test are killed."""

    def __init__(self, state: Path) -> None:
        self._environment = {**os.environ, "ONEREFRESH_STATE": str(state), "PYTHONPATH": str(PACKAGE.parent)}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.without_posix.program", *arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(program)
        return program

    def run(self, *arguments: str) -> Any:
        return self.told(self.start(*arguments))[-1]

    def ready(self, *arguments: str) -> subprocess.Popen[str]:
        program = self.start(*arguments)
        assert program.stdout is not None
        assert program.stdout.readline() == '"ready"\n', program.communicate()[1]
        return program

    @staticmethod
    def told(program: subprocess.Popen[str]) -> list[Any]:
        printed, said = program.communicate("go\n", 3 * PATIENCE)
        assert program.returncode == 0, said
        return [json.loads(line) for line in printed.splitlines() if line[:1] in '"[{']


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    found = Programs(tmp_path / "state")
    yield found
    for program in found.started:
        program.kill()
        program.communicate()


@pytest.mark.seconds
@pytest.mark.parametrize("kind", KINDS)
def test_every_module_of_the_package_can_be_imported(programs: Programs, kind: str) -> None:
    found = programs.run(kind, "modules")
    assert {"onerefresh.stores.sqlite", "onerefresh.stores.redis.store", "onerefresh.cli"} <= set(found)


def test_the_clock_that_processes_share_goes_on(programs: Programs) -> None:
    before, after = programs.run("nothing", "shared_clock")
    assert 0.0 < before <= after


@pytest.mark.seconds
@pytest.mark.parametrize("kind", KINDS)
def test_files_that_a_program_keeps_are_written_and_read(programs: Programs, tmp_path: Path, kind: str) -> None:
    with AuthServer(mode="grace", grace=3600.0) as server:
        found = programs.run(kind, "paths", json.dumps(server.issue()), server.token_url, str(tmp_path))
    assert found["memory"] == 2
    assert found["sqlite"] >= 2
    assert found["codes"] == [0, 0]
    assert found["spool"] == [True, "attempt", None]
    assert found["key"]


def test_a_lock_proves_death_where_the_system_has_one(programs: Programs, tmp_path: Path) -> None:
    found = programs.run("locks", "proof", str(tmp_path / "tokens.db"))
    assert found["proof"].startswith("flock ")
    assert (found["meanwhile"], found["again"]) == (False, True)
    found = programs.run("nothing", "proof", str(tmp_path / "tokens.db"))
    assert found["proof"] is None


@pytest.mark.seconds
@pytest.mark.parametrize("kind", KINDS)
def test_processes_send_one_token_request(programs: Programs, tmp_path: Path, kind: str) -> None:
    with AuthServer() as server:
        answer = json.dumps(server.issue())
        arguments = (kind, "refreshes", answer, server.token_url, f"sqlite:///{tmp_path}/tokens.db")
        started = [programs.ready(*arguments) for _ in range(3)]
        for program in started:
            assert program.stdin is not None
            program.stdin.write("go\n")
            program.stdin.flush()
        assert len({programs.told(program)[-1] for program in started}) == 1
        assert server.counters.token_requests == 1


@pytest.mark.seconds
def test_others_take_over_from_a_holder_that_was_killed(programs: Programs, tmp_path: Path) -> None:
    """Without a proof of its death they wait for its time to live, which is longer than their own patience."""
    with AuthServer(mode="grace", grace=3600.0) as server:
        arguments = (json.dumps(server.issue()), server.token_url, f"sqlite:///{tmp_path}/tokens.db")
        server.hold("token_sent")
        holder = programs.ready("locks", "refreshes", *arguments)
        assert holder.stdin is not None
        holder.stdin.write("go\n")
        holder.stdin.flush()
        server.wait_for("token_sent")
        holder.kill()
        holder.wait()
        server.release("token_sent")
        other = programs.ready("locks", "refreshes", *arguments)
        assert programs.told(other)[-1].startswith("test-access-")
        assert server.session == "alive"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_stores_on_servers_work(programs: Programs, new_store: Callable[[str], str], kind: str) -> None:
    with AuthServer() as server:
        arguments = ("nothing", "refreshes", json.dumps(server.issue()), server.token_url, new_store(kind))
        one, other = programs.ready(*arguments), programs.ready(*arguments)
        assert programs.told(one)[-1] == programs.told(other)[-1]
        assert server.counters.token_requests == 1
