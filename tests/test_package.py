"""The tests run what is installed: `src` in an installation that can be edited, else a wheel's own files."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from tests.package import PACKAGE, ROOT


def installed() -> Path:
    """Where the package lies that these tests are to run."""
    found = distribution("onerefresh")
    told = json.loads(found.read_text("direct_url.json") or "{}")
    if told.get("dir_info", {}).get("editable"):
        return ROOT / "src" / "onerefresh"
    return Path(str(found.locate_file("onerefresh")))


def test_the_tests_import_what_is_installed() -> None:
    assert installed() == PACKAGE


def test_so_do_their_processes() -> None:
    script = "import onerefresh; print(onerefresh.__file__)"
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert Path(told.strip()).parent == installed()


def test_no_test_names_the_source_tree_as_a_place_to_import_from() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__) and any(name in path.read_text("utf-8") for name in ('/ "src"', '"src/', "'src/"))
    }
    assert found == {"tests/golden/test_versions.py"}, "ask tests.package where it lies"
