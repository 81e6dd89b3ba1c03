"""The Pythons of this machine: the one that runs the tests, and others that have nothing but the standard library."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.package import alone

VERSIONS = ("3.11", "3.12", "3.13")
HERE = ".".join(map(str, sys.version_info[:2]))


@functools.cache
def python(version: str) -> str | None:
    """The path of a Python of this version; None where there is none."""
    if version == HERE:
        return sys.executable
    places: list[Path | str | None] = [
        *Path.home().glob(f".pyenv/versions/{version}*/bin/python"),
        shutil.which(f"python{version}"),
    ]
    for place in places:
        if place is None:
            continue
        asked = subprocess.run(
            [place, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.strip() == version:
            return str(place)
    return None


def told(version: str, script: Path, *arguments: object, seconds: float) -> list[str]:
    """What the script prints, line by line; it fails the test where it hangs, or ends with an error."""
    found = python(version)
    if found is None:
        pytest.skip(f"NOT TESTED: there is no Python {version} on this machine")
    child = subprocess.run(
        [found, str(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": alone()},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert child.returncode == 0, child.stdout[-4000:] + child.stderr[-4000:]
    return child.stdout.splitlines()
