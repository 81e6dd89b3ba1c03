"""`docs/testing.md`, "Testing a store of your own", is executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onerefresh.testing import FailingStoreContract, SharedStoreContract, StoreContract, StoreMachine

GUIDE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
SECTION = GUIDE[GUIDE.index("\n## Testing a store of your own") :]
STORE, TESTS = re.findall(r"^```python\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)

# The contract's other tests run as they are; random histories cost most, and the library's own stores have them all.
FEW = """
from onerefresh.testing import StoreContract

StoreContract.examples = 5
"""


def outcome(folder: Path) -> subprocess.CompletedProcess[str]:
    """What pytest makes of the tests in this folder, as somebody else runs it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


SHOWS = """
import importlib, pkgutil
import pytest
import onerefresh.testing.stores as stores

@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(stores.__path__)])
def test_it_shows_what_differs(name):
    module = importlib.import_module(f"onerefresh.testing.stores.{name}")
    assert type(module.__loader__).__name__ == "AssertionRewritingHook"
"""


@pytest.mark.seconds
def test_each_file_of_the_contract_shows_what_differs(tmp_path: Path) -> None:
    """Because pytest rewrites the assertions of a distribution that has a plugin, wherever they are."""
    (tmp_path / "test_shows.py").write_text(SHOWS)
    done = outcome(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.seconds
def test_the_store_in_the_guide_keeps_the_contract(tmp_path: Path) -> None:
    (tmp_path / "acme_store.py").write_text(STORE)
    (tmp_path / "test_acme_store.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(FEW)
    done = outcome(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) == len(cases_of(SharedStoreContract, FailingStoreContract))


def cases_of(*contracts: type[StoreContract]) -> list[str]:
    """The tests that subclasses get, one for each set of parameters."""
    class_ = type("Both", contracts, {})
    names = []
    for name in dir(class_):
        if name.startswith("test_"):
            marks = getattr(getattr(class_, name), "pytestmark", [])
            values = [mark.args[1] for mark in marks if mark.name == "parametrize"]
            names += [f"{name} {value!r}" for value in values[0]] if values else [name]
    return names


def test_the_guide_names_the_classes_and_what_they_take() -> None:
    for contract in (StoreContract, SharedStoreContract, FailingStoreContract, StoreMachine):
        assert f"`{contract.__name__}`" in SECTION
    for name in ("opener", "outage", "rounds", "examples"):
        assert hasattr(FailingStoreContract, name)
        assert f"`{name}`" in SECTION
    assert f"`rounds` rounds ({StoreContract.rounds})" in SECTION
    assert f"`examples` random histories ({StoreContract.examples})" in SECTION
