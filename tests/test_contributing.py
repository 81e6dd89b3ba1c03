"""CONTRIBUTING.md names files, targets and links that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.core.test_never_a_hang import locks_in, modules
from tests.package import PACKAGE

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_each_path_is_there() -> None:
    named = re.findall(r"`((?:src|tests|docs|bench)/[^`]+)`", TEXT) + re.findall(r"\]\(([^)#:]+)[^):]*\)", TEXT)
    assert len(named) > 10
    assert [path for path in named if not any(ROOT.glob(path.rstrip("/")))] == []


def test_each_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {word for words in re.findall(r"\bmake((?: [a-z]+)+)\b", TEXT) for word in words.split()}
    assert {"check", "test"} <= named
    assert named <= targets


@pytest.mark.seconds
def test_each_rule_is_where_the_table_says() -> None:
    rows = re.findall(r"^\| ([^|`]+) \| (`[^|]+`) \|$", TEXT.split("## Where each rule is")[1], re.MULTILINE)
    rules = {rule: re.findall(r"`(\S+) (\w+)`", files) for rule, files in rows}
    assert len(rules) >= 20
    for rule, places in rules.items():
        assert 1 <= len(places) <= 2, rule
        for file, name in places:
            tree = ast.parse((PACKAGE / file).read_text("utf-8"))
            kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}, f"{rule}: {file} {name}"


def test_each_lock_is_there_with_its_order() -> None:
    listed = dict(re.findall(r"^\| `([^`]+)` \| .* \| (\d) \|$", TEXT, re.MULTILINE))
    assert set(listed) == {
        f"{name} {owner}"
        for name, tree in modules()
        for owner in locks_in(tree)
        if not name.startswith(("testing/", "cli/"))
    }
    for name in {lock.split()[0] for lock in listed}:
        orders = {order for lock, order in listed.items() if lock.startswith(f"{name} ")}
        assert orders == set(orders_in(ast.parse((PACKAGE / name).read_text("utf-8")))), name


def orders_in(tree: ast.Module) -> list[str]:
    """The order of each lock that the module makes."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        next((ast.unparse(word.value) for word in call.keywords if word.arg == "order"), "0")
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Lock"
    ]
