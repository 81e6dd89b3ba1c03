"""`docs/testing.md` is executed: its examples, and what its tables say."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from onerefresh.cli import testserver
from onerefresh.testing import Counters
from onerefresh.testing.control import Control
from onerefresh.testing.gates import POINTS
from onerefresh.testing.settings import MODES, Settings

# The section about stores has a test of its own.
GUIDE, *_ = (
    (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8").partition("\n## Testing a store ")
)
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
TESTS = [block for block in BLOCKS if "def test_" in block]
SCRIPTS = [block for block in BLOCKS if "def test_" not in block]


def run(arguments: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guide_has_examples() -> None:
    assert (len(TESTS), len(SCRIPTS)) == (3, 3)


@pytest.mark.seconds
@pytest.mark.parametrize("number", range(len(TESTS)))
def test_the_tests_in_the_guide_pass(number: int, tmp_path: Path) -> None:
    (tmp_path / "test_guide.py").write_text(TESTS[number])
    run(["-m", "pytest", "-p", "onerefresh.testing.plugin", "-p", "no:cacheprovider", "--strict-markers"], tmp_path)


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_the_scripts_in_the_guide_run(number: int, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPTS[number])
    run(["-W", "error", "script.py"], tmp_path)


def test_the_commands_in_the_guide_are_commands() -> None:
    parser = argparse.ArgumentParser(prog="onerefresh", exit_on_error=False)
    testserver.add(parser.add_subparsers())
    lines = re.findall(r"^\$ onerefresh (.*)$", GUIDE, re.MULTILINE)
    assert lines
    for line in lines:
        parser.parse_args(shlex.split(line))


def test_the_tables_name_every_option_with_its_default_and_every_mode() -> None:
    defaults = {name: getattr(Settings(), name) for name in (field.name for field in fields(Settings))}
    told = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", GUIDE, re.MULTILINE))
    assert {name: repr(value).replace("'", '"') for name, value in defaults.items()} == told
    assert re.findall(r"^\| `(\w+)` \| (?!`)", GUIDE, re.MULTILINE) == list(MODES)


def test_the_guide_names_every_point_counter_and_method() -> None:
    methods = [name for name, _ in inspect.getmembers(Control, callable) if not name.startswith("_")]
    properties = [name for name, _ in inspect.getmembers(Control, lambda member: isinstance(member, property))]
    told = set(re.findall(r"\w+", GUIDE))
    plumbing = {"check", "stop"}
    wanted = {*POINTS, *(field.name for field in fields(Counters)), *methods, *properties} - plumbing
    assert wanted <= told
