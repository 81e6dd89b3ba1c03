"""Run the measurements, print their tables and write them into the pages: see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import logging
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from bench import calls, fast_path, isolation, start, storm, waking
from bench.comparison import run, tables
from bench.report import insert, table
from bench.scale import tables as scale_tables

PAGES = Path(__file__).parents[1]
BENCHMARKS, COMPARISON, SCALE, README = (
    PAGES / name for name in ("docs/benchmarks.md", "docs/comparison.md", "docs/explanation/scale.md", "README.md")
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=["speed", "comparison", "isolation", "scale", []], help="default: the first two"
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions: to see that everything runs")
    parser.add_argument("--print", action="store_true", help="leave the pages as they are")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)  # what goes wrong here goes wrong on purpose
    parts = chosen.parts or ["speed", "comparison"]
    measures: dict[str, Callable[..., Iterable[tuple[Path, str, str]]]]
    measures = {"speed": speed, "comparison": comparison, "isolation": isolated, "scale": scale}
    for page, mark, text in chain.from_iterable(measures[part](quick=chosen.quick) for part in parts):
        print(f"\n{mark}\n\n{text}", flush=True)
        if not chosen.print:
            insert(page, mark, text)


def speed(*, quick: bool) -> list[tuple[Path, str, str]]:
    measured = [
        ("fast path", fast_path.measure(5 if quick else 50)),
        ("calls", calls.measure(10 if quick else 1500)),
        ("start", start.measure(5 if quick else 60)),
        ("waking", waking.measure(2 if quick else 15)),
        ("storm", storm.measure(3 if quick else 100)),
    ]
    head = ("", "median (quartiles)", "aim")
    found = [
        (BENCHMARKS, mark, table(head, [(row.what, row.figure, row.aim) for row in rows])) for mark, rows in measured
    ]
    return [(BENCHMARKS, "machine", machine()), *found]


def isolated(*, quick: bool) -> list[tuple[Path, str, str]]:
    rows = isolation.measure(1 if quick else 5)
    lines = [(row.what, row.figure, row.aim) for row in rows]
    return [(BENCHMARKS, "isolation", table(("", "median", "aim"), lines))]


def comparison(*, quick: bool) -> list[tuple[Path, str, str]]:
    lines = list(run.measure(1 if quick else 3))
    found = [(COMPARISON, mark, text) for mark, text in tables.tables(lines).items()]
    return [*found, (README, "comparison", tables.short_table(lines))]


def scale(*, quick: bool) -> Iterator[tuple[Path, str, str]]:
    """Each table as soon as it is there: all take a quarter of an hour."""
    yield SCALE, "machine", machine()
    for mark, text in scale_tables.measure(quick=quick):
        yield SCALE, mark, text


def machine() -> str:
    """What the figures depend on."""
    return (
        f"Measured with {platform.python_implementation()} {platform.python_version()} on {platform.system()}, "
        f"{os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main()
