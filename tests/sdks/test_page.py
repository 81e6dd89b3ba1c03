"""What `docs/sdks.md` says beside its examples: the table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.sdks.page import GUIDE, ROOT, ROWS

from onerefresh import LoginRequired

LINKS = {cell: re.findall(r"\[([\w-]+)\]\(#([\w-]+)\)", cell)[0] for cell in ROWS if cell.startswith("[")}
TESTS = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
PINNED = dict(
    line.lower().split("==") for line in (ROOT / "requirements" / "constraints.txt").read_text("utf-8").splitlines()[1:]
)


@pytest.mark.parametrize("cell", LINKS)
def test_each_sdk_has_a_section_and_tests_with_the_version_that_the_table_tells(cell: str) -> None:
    name, anchor = LINKS[cell]
    assert f"\n## {name}\n" in GUIDE
    assert anchor == name.lower()
    assert f'"{name}"' in TESTS
    assert ROWS[cell].version == PINNED[name.lower()]
    assert ROWS[cell].storm == "20, 1"
    assert "`LoginRequired`" in ROWS[cell].ended


def test_the_table_has_a_line_for_each_section() -> None:
    sections = set(re.findall(r"^## (.*)$", GUIDE, re.MULTILINE)) - {"What looks right and is not"}
    assert {name for name, _ in LINKS.values()} == sections


def test_the_function_that_finds_ours_finds_it() -> None:
    names: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)[0], names)
    caused = ConnectionError("theirs")
    caused.__cause__ = LoginRequired("ours")
    must_log_in = names["must_log_in"]
    assert must_log_in(caused)
    assert must_log_in(LoginRequired("ours"))
    assert not must_log_in(ConnectionError("theirs"))
