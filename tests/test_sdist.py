"""The source distribution does what a clone does, and its page's links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from email import message_from_string
from pathlib import Path

import pytest
from tests.package import ROOT

pytestmark = pytest.mark.slow
REPOSITORY = "https://github.com/onerefresh/onerefresh/blob/main/"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody has who has downloaded the source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (found,) = folder.glob("onerefresh-*/")
    return found


def test_it_has_every_file_of_a_clone(unpacked: Path) -> None:
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("these tests run in a source distribution, which has no list of a clone's files")
    has = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    clone = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    assert has - clone <= {"PKG-INFO", ".gitignore"}
    assert clone - has == set()


PYTEST = ["bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]


@pytest.mark.parametrize(
    "command",
    [
        [*PYTEST, "tests/core/test_policy.py"],
        pytest.param(["make", "demo", "VENV=."], marks=pytest.mark.long),
        pytest.param([*PYTEST, "--collect-only"], marks=pytest.mark.long),
    ],
    ids=["a test", "the demo", "all tests"],
)
def test_the_commands_of_a_clone_run_in_it(unpacked: Path, tmp_path: Path, command: list[str]) -> None:
    """With an environment in which everything is installed already, but the package itself."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, arguments in (("python", '"$@"'), ("onerefresh", '-m onerefresh "$@"')):
        (binaries / name).write_text(f'#!/bin/sh\nPYTHONPATH="{unpacked}/src" exec "{sys.executable}" {arguments}\n')
        (binaries / name).chmod(0o755)
    (tmp_path / ".installed").touch()
    environment = {**os.environ, "ONEREFRESH_STATE": str(tmp_path / "state")}
    command = [word.replace("bin/", f"{binaries}/").replace("VENV=.", f"VENV={tmp_path}") for word in command]
    done = subprocess.run(
        command, cwd=unpacked, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_links_of_the_package_page_lead_to_files_of_the_repository(unpacked: Path) -> None:
    told = message_from_string((unpacked / "PKG-INFO").read_text("utf-8"))
    assert told["Description-Content-Type"] == "text/markdown"
    page = told.get_payload()
    assert isinstance(page, str)
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert len(links) == len(re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text("utf-8"))) > 20
    for link in links:
        assert link.startswith("https://"), link
        if link.startswith(REPOSITORY):
            assert (ROOT / link.removeprefix(REPOSITORY).partition("#")[0]).exists(), link
    assert not re.search(r"<(?:img|a)\b|^\[[^\]]+\]: ", page, re.MULTILINE), "these would need the same"
