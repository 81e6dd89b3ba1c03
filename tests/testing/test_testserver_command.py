"""`onerefresh testserver`, as a real process."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from onerefresh.testing import RemoteServer

SCRIPT = """
import argparse, sys
from onerefresh.cli import testserver
from onerefresh.errors import ConfigurationError
parser = argparse.ArgumentParser()
testserver.add(parser.add_subparsers())
args = parser.parse_args()
try:
    sys.exit(testserver.run(args))
except ConfigurationError as problem:
    sys.exit(str(problem))
"""


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "testserver", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.terminate()  # rather than kill: it removes its file
        process.communicate(timeout=60)


def first_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    found: dict[str, Any] = json.loads(line)
    return found


def test_it_prints_addresses_and_a_private_file_and_never_a_token(client: httpx2.Client) -> None:
    with running("--json", "--mode", "reject_only", "--expires-in", "0.5") as process:
        shown = first_line(process)
        path = Path(shown["file"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = json.loads(path.read_text())
        assert content["token"]["expires_in"] == 0.5
        secrets = {content["token"]["access_token"], content["token"]["refresh_token"], content["control_key"]}
        assert not any(secret in json.dumps(shown) for secret in secrets)
        form = {"grant_type": "refresh_token", "refresh_token": content["token"]["refresh_token"]}
        auth = (content["client_id"], content["client_secret"])
        assert client.post(shown["token_url"], data=form, auth=auth).status_code == 200
        with RemoteServer.from_file(path) as server:
            assert server.foreign.url == shown["foreign_url"]
            assert (server.counters.refreshes, server.session) == (1, "alive")
        assert client.get(shown["url"]).status_code == 404  # leaving the block has not stopped it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_file_is_removed(number: signal.Signals) -> None:
    with running("--json") as process:
        path = Path(first_line(process)["file"])
        assert path.exists()
        process.send_signal(number)
        assert process.wait(60) == 0
        assert not path.exists()


def test_the_end_of_standard_input_ends_it_where_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    with running("--until-eof", "--file", str(path)) as process:
        out, err = process.communicate("", timeout=60)
    assert (process.returncode, err) == (0, "")
    assert f"file              {path}\n" in out
    assert out.endswith("token requests 0, refreshes 0, reuse detected 0, session alive\n")
    assert "test-access-" not in out
    assert not path.exists()


def test_the_first_token_answer_is_shown_where_asked_for() -> None:
    with running("--json", "--until-eof", "--show-seed", "--public-client") as process:
        shown = first_line(process)
        assert shown["token"]["refresh_token"].startswith("test-refresh-")
        assert json.loads(Path(shown["file"]).read_text())["client_secret"] is None
        process.communicate("", timeout=60)


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious.json"
    path.write_text("mine")
    with running("--file", str(path)) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == f"cannot create {path}: File exists; choose another --file\n"
    assert out == ""
    assert path.read_text() == "mine"


@pytest.mark.seconds
def test_a_wrong_option_is_told() -> None:
    with running("--expires-in", "0") as process:
        _, err = process.communicate(timeout=60)
    assert err == "expires_in must be a number of seconds, more than 0\n"
