"""`docs/sdks.md`: its table, and the examples of its sections, which the tests of each SDK execute."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onerefresh import Credential

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "sdks.md").read_text(encoding="utf-8")
ORIGIN = "https://api.acme.com"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    sdk: str
    version: str
    written: str
    storm: str
    ended: str


ROWS = {
    cells[0]: Row(*cells)
    for line in GUIDE.splitlines()
    if line.startswith("| ") and len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) == 5
}


def section(heading: str) -> str:
    """The text below this heading, up to the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/sdks.md has no section {heading!r}"
    return found[1]


def run(heading: str, acme: Credential, origin: str, **names: Any) -> dict[str, Any]:
    """The names that the section's examples make, executed one after another with `acme` and the API at `origin`."""
    found: dict[str, Any] = {"__name__": "guide", "acme": acme, **names}
    blocks = re.findall(r"^```python\n(.*?)^```", section(heading), re.DOTALL | re.MULTILINE)
    assert blocks
    for number, block in enumerate(blocks):
        source = block.replace(ORIGIN, origin)
        exec(compile(source, f"docs/sdks.md, {heading}, example {number + 1}", "exec"), found)
    return found
