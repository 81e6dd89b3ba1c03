"""Whoever can write to the folder in which somebody starts a program runs no code as that user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.package import alone

LOAD = "import onerefresh; print(onerefresh.load('acme').token())"
REFRESHER = "def refresh(token): return {{'access_token': '{}', 'refresh_token': 'r'}}\n"


@pytest.fixture
def lair(tmp_path: Path) -> Path:
    """The working folder: its modules say so when they are imported."""
    lair = tmp_path / "lair"
    lair.mkdir()
    for name in ("acme_refresher", "acme_installed"):
        (lair / f"{name}.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n" + REFRESHER.format("eve"))
    (lair / "acme_parts").mkdir()
    (lair / "acme_parts" / "refresher.py").write_text((lair / "acme_refresher.py").read_text())
    (tmp_path / "lib" / "acme_parts").mkdir(parents=True)
    (tmp_path / "lib" / "acme_parts" / "other.py").write_text(REFRESHER.format("installed"))
    (tmp_path / "lib" / "acme_installed.py").write_text(REFRESHER.format("installed"))
    return lair


def run(
    lair: Path, refresher: str, how: list[str], stdin: str = "", *, function: str = "refresh", **environment: str
) -> subprocess.CompletedProcess[str]:
    config = lair.parent / "onerefresh.toml"
    config.write_text(f'store = "memory"\n[credentials.acme]\nrefresher = "{refresher}:{function}"\n')
    config.chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *how],
        cwd=lair,
        env={**kept, "PYTHONPATH": f"{alone()}:{lair.parent / 'lib'}", "ONEREFRESH_CONFIG": str(config), **environment},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


STARTS: dict[str, tuple[list[str], str]] = {
    "python -m onerefresh": (["-m", "onerefresh", "token", "acme"], ""),
    "python -c": (["-c", LOAD], ""),
    "python -": (["-"], LOAD),
    "python -i": (["-i", "-q"], LOAD + "\n"),
    "python -m of another": (["-m", "timeit", "-n1", "-r1", LOAD], ""),
}
SOME_STARTS = [
    pytest.param(start, marks=pytest.mark.slow) if start in ("python -", "python -i") else start for start in STARTS
]


@pytest.mark.seconds
@pytest.mark.parametrize("start", SOME_STARTS)
@pytest.mark.parametrize("refresher", ["acme_refresher", "acme_parts.refresher"])
def test_a_refresher_is_not_imported_from_the_working_folder(
    lair: Path, tmp_path: Path, start: str, refresher: str
) -> None:
    how, stdin = STARTS[start]
    done = run(lair, refresher, how, stdin)
    assert "refresher" in done.stderr
    assert not (tmp_path / "owned").exists()
    if refresher == "acme_refresher" and start != "python -m onerefresh":  # there that folder is not on the path
        assert "is in the working folder" in done.stderr
        assert f"set PYTHONPATH={lair}" in done.stderr


@pytest.mark.parametrize("start", SOME_STARTS)
@pytest.mark.parametrize("refresher", ["acme_installed", "acme_parts.other"])
def test_one_that_is_installed_is_imported_although_the_working_folder_has_its_like(
    lair: Path, tmp_path: Path, start: str, refresher: str
) -> None:
    how, stdin = STARTS[start]
    (lair / "acme_parts" / "other.py").write_text((lair / "acme_refresher.py").read_text())
    done = run(lair, refresher, how, stdin)
    assert not (tmp_path / "owned").exists(), done.stderr
    assert "there is no token yet" in done.stderr


RELATIVE = ["", ".", "..:.", "./", "relative/..", "relative:", "../lair", "relative"]


@pytest.mark.parametrize("path", RELATIVE)
@pytest.mark.parametrize("start", ["python -m onerefresh", "python -c"])
def test_a_relative_entry_of_pythonpath_is_not_searched_for_a_refresher(
    lair: Path, tmp_path: Path, path: str, start: str
) -> None:
    (lair / "relative").mkdir()
    (lair / "relative" / "acme_refresher.py").write_text((lair / "acme_refresher.py").read_text())
    how, stdin = STARTS[start]
    done = run(lair, "acme_refresher", how, stdin, PYTHONPATH=f"{path}:{alone()}")
    assert "refresher" in done.stderr
    assert not (tmp_path / "owned").exists()


@pytest.mark.seconds
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("path", ["PACKAGE", ":PACKAGE", "PACKAGE:../lair", "PACKAGE:./:."])
def test_nothing_else_is_imported_from_it_by_the_command(lair: Path, tmp_path: Path, path: str) -> None:
    for name in ("httpx2", "rich", "argparse", "difflib", "ssl", "http", "tomllib", "keyring", "subprocess", "sqlite3"):
        (lair / f"{name}.py").write_text((lair / "acme_refresher.py").read_text())
    for arguments in (["status"], ["token", "acme"], ["--help"], ["demo", "--json", "--help"]):
        paths = f"{path.replace('PACKAGE', alone())}:{lair.parent / 'lib'}"
        done = run(lair, "acme_installed", ["-m", "onerefresh", *arguments], PYTHONPATH=paths)
        assert "owned" not in done.stderr
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("where", ["PYTHONPATH", "the program lies there", "imported already"])
def test_a_working_folder_that_is_meant_serves(lair: Path, tmp_path: Path, where: str) -> None:
    (lair / "program.py").write_text(LOAD)
    match where:
        case "PYTHONPATH":
            done = run(lair, "acme_refresher", ["-c", LOAD], PYTHONPATH=f"{alone()}:{lair}")
        case "the program lies there":
            done = run(lair, "acme_refresher", ["-m", "program"])
        case _:
            done = run(lair, "acme_refresher", ["-c", f"import acme_refresher; {LOAD}"])
    assert (tmp_path / "owned").exists(), done.stderr
    assert "is in the working folder" not in done.stderr


def test_the_test_server_s_process_imports_nothing_from_it(lair: Path, tmp_path: Path) -> None:
    for name in ("json", "http", "signal", "dataclasses"):
        (lair / f"{name}.py").write_text((lair / "acme_refresher.py").read_text())
    start = "from onerefresh.testing import RemoteServer; RemoteServer.start().stop()"
    start = f"import sys; sys.path[:] = [p for p in sys.path if p not in ('', {str(lair)!r})]; {start}"
    done = run(lair, "acme_installed", ["-P", "-c", start])
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "owned").exists()


FINDER = """
import importlib.machinery, sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "acme_installed":
            return importlib.machinery.PathFinder.find_spec(name, ["LIB"])
sys.meta_path.append(Finder)
"""


def test_one_that_an_import_hook_finds_is_found(lair: Path, tmp_path: Path) -> None:
    """As an installation that can be edited: it adds a finder, behind that of the working folder."""
    hook = FINDER.replace("LIB", str(tmp_path / "lib"))
    done = run(lair, "acme_installed", ["-c", f"{hook}\n{LOAD}"], PYTHONPATH=alone())
    assert "LoginRequired" in done.stderr
    assert not (tmp_path / "owned").exists()


def test_one_that_is_built_in_is_found(lair: Path) -> None:
    done = run(lair, "faulthandler", ["-c", LOAD], function="enable")
    assert "LoginRequired" in done.stderr


def test_where_the_working_folder_is_gone_the_command_still_works(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'rmdir "$PWD"; exec "$0" -m onerefresh --version'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": alone()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout[:10]) == (0, "onerefresh"), done.stderr
