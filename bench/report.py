"""Tables in Markdown, and putting them between their marks in a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.timing import Spread

__all__ = ["Row", "insert", "milliseconds", "nanoseconds", "ratio", "table"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table of measurements."""

    what: str
    figure: str
    aim: str


def nanoseconds(found: Spread) -> str:
    return f"{found.median:.0f} ns ({found.lower:.0f} to {found.upper:.0f})"


def milliseconds(found: Spread) -> str:
    """`found` in nanoseconds."""
    lower, median, upper = (value / 1e6 for value in (found.lower, found.median, found.upper))
    return f"{median:.1f} ms ({lower:.1f} to {upper:.1f})"


def ratio(found: Spread) -> str:
    return f"{found.median:.3f} ({found.lower:.3f} to {found.upper:.3f})"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)


def insert(page: Path, mark: str, text: str) -> None:
    """Replace what stands between ``<!-- mark -->`` and ``<!-- end -->`` in `page`."""
    before = page.read_text("utf-8")
    pattern = rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- end -->)"
    after, found = re.subn(pattern, lambda at: f"{at[1]}{text}\n{at[2]}", before, flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"{page} needs the marks '<!-- {mark} -->' and '<!-- end -->' once")
    page.write_text(after, "utf-8")
