"""Each file of this folder quotes its promise, word for word, and uses nothing but the public face."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
README = (HERE.parents[1] / "README.md").read_text("utf-8")
SECTION = README.partition("## What is promised\n")[2].partition("\n**What no client can promise")[0]
PROMISES = [" ".join(promise.split()) for promise in re.split(r"^\d+\. ", SECTION, flags=re.MULTILINE)[1:]]
FILES = sorted(HERE.glob("test_promise_*.py"))
PUBLIC = ("onerefresh", "onerefresh.oauth2", "onerefresh.testing")
FOR_AUTHORS = ("onerefresh.store", "onerefresh.events")
"""What the authors of a store need, and of a hook."""


def test_each_promise_has_its_file() -> None:
    assert [path.name.split("_")[2] for path in FILES] == [str(number) for number in range(1, len(PROMISES) + 1)]
    assert len(PROMISES) == 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_file_quotes_its_promise(path: Path) -> None:
    quote = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert " ".join((quote or "").split()) == PROMISES[int(path.name.split("_")[2]) - 1]


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.stem)
def test_only_the_public_face_is_used(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    ours = {module for module in modules if module.partition(".")[0] in ("onerefresh", "tests")}
    strange = {
        module
        for module in ours - {*PUBLIC, *FOR_AUTHORS, "tests.promises.helpers"}
        if not module.startswith("onerefresh.clients")
    }
    assert not strange
    others = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self"]
    assert not {node.attr for node in others if node.attr.startswith("_") and not node.attr.startswith("__")}
