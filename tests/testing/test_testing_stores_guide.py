"""`docs/testing.md`, "Testing a store of your own", is executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from onerefresh.testing import FailingStoreContract, SharedStoreContract, StoreContract, StoreMachine

GUIDE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
SECTION = GUIDE[GUIDE.index("\n## Testing a store of your own") :]
STORE, TESTS = re.findall(r"^```python\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)

# The contract's other tests run as they are; random histories cost most, and the library's own stores have them all.
FEW = """
from onerefresh.testing import StoreContract

StoreContract.examples = 5
"""


def test_the_store_in_the_guide_keeps_the_contract(tmp_path: Path) -> None:
    (tmp_path / "acme_store.py").write_text(STORE)
    (tmp_path / "test_acme_store.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(FEW)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", "."],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
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
