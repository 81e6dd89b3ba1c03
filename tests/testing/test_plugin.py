"""The pytest plugin, run by a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import json
import urllib.error
import urllib.request

import pytest


def refresh(server, seed):
    body = json.dumps({"refresh_token": seed["refresh_token"]}).encode()
    try:
        urllib.request.urlopen(urllib.request.Request(server.json_refresh_url, body)).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()


def test_once(auth_server):
    refresh(auth_server, auth_server.issue())
    assert auth_server.counters.refreshes == 1


def test_twice(auth_server):
    seed = auth_server.issue()
    refresh(auth_server, seed)
    refresh(auth_server, seed)


def test_twice_announced(auth_server):
    auth_server.expect_reuse()
    seed = auth_server.issue()
    refresh(auth_server, seed)
    refresh(auth_server, seed)


@pytest.mark.auth_server(mode="grace", grace=60)
def test_twice_within_the_grace_window(auth_server):
    seed = auth_server.issue()
    refresh(auth_server, seed)
    refresh(auth_server, seed)
    assert auth_server.counters.reissues == 1


def test_two_servers(new_auth_server):
    one, two = new_auth_server(), new_auth_server("static", expires_in=5)
    assert one.url != two.url
    assert two.issue()["expires_in"] == 5
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("a_project")
    (folder / "test_theirs.py").write_text(TESTS)
    options = ["-p", "onerefresh.testing.plugin", "-p", "no:cacheprovider", "--strict-markers", "-rA", "-W", "error"]
    done = run("-m", "pytest", *options, folder=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.seconds
@pytest.mark.parametrize(
    "name",
    ["test_once", "test_twice_announced", "test_twice_within_the_grace_window", "test_two_servers"],
)
def test_the_fixtures_serve_a_test(report: str, name: str) -> None:
    assert f"PASSED test_theirs.py::{name}\n" in report


def test_unannounced_reuse_fails_the_test_at_its_teardown(report: str) -> None:
    assert "ERROR test_theirs.py::test_twice - onerefresh.testing.control.ReuseDetected" in report
    assert "5 passed, 1 error" in report


def test_the_plugin_itself_loads_nothing_but_pytest(tmp_path: Path) -> None:
    script = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import onerefresh.testing.plugin\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('onerefresh.testing')))\n"
    )
    done = run("-c", script, folder=tmp_path)
    assert done.stdout == "['onerefresh.testing', 'onerefresh.testing.plugin']\n", done.stderr


def test_the_server_needs_the_standard_library_alone(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from onerefresh.testing import *\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))\n"
    )
    done = run("-I", "-S", "-c", f"import sys; sys.path.append({_source()!r})\n" + script, folder=tmp_path)
    assert done.stdout == "['__main__', 'onerefresh']\n", done.stdout + done.stderr


def _source() -> str:
    import onerefresh.testing

    return str(Path(onerefresh.testing.__file__).parents[2])
