"""Run many seeds, one seed in full, or the mutation gate."""

from __future__ import annotations

import argparse
import collections
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.simulator import gate, page
from tests.simulator.batches import batches
from tests.simulator.dense import dense
from tests.simulator.mutants import MUTANTS
from tests.simulator.run import simulate
from tests.simulator.scenario import Scenario


def main(arguments: list[str] | None = None) -> int:
    """0: every promise was kept; 1: one was broken, or a mutant lives."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--runs", type=int, default=4000, help="how many seeds to run (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes to run them in; 0: one a processor")
    parser.add_argument("--dense", action="store_true", help="one kind of trouble in each run, several times")
    parser.add_argument("--seed", type=int, help="run one seed, and tell who did what when")
    parser.add_argument("--mermaid", action="store_true", help="with --seed or --rule: as a mermaid sequence diagram")
    parser.add_argument("--gate", action="store_true", help="take out each rule in turn, as a table")
    parser.add_argument("--rule", help="show a short run that breaks a promise without each part of this rule")
    parser.add_argument(
        "--page", type=Path, help="make the simulated parts of this page anew: docs/explanation/protocol.md"
    )
    options = parser.parse_args(arguments)
    scenario_of = dense if options.dense else Scenario.mixed
    if options.seed is not None:
        report = simulate(scenario_of(options.seed), account=True)
        _say(report.account.mermaid() if options.mermaid else str(report))
        return int(report.broken is not None)
    if options.rule is not None:
        return _examples(options.rule, diagram=options.mermaid)
    if options.page is not None:
        options.page.write_text(page.rewritten(options.page.read_text("utf-8")), "utf-8")
        return 0
    if options.gate:
        return _gate()
    return _runs(range(options.first, options.first + options.runs), options.jobs or os.cpu_count() or 1, scenario_of)


def _examples(rule: str, *, diagram: bool) -> int:
    for mutant in MUTANTS:
        if mutant.rule == rule and (report := gate.example(mutant)) is not None:
            _say(f"{mutant.without}: {report.broken}")
            _say(report.account.mermaid() if diagram else str(report))
    return 0


def _gate() -> int:
    alive = 0
    for row in gate.table():
        _say(row)
        alive += row.endswith(f"| {gate.NOTHING} |")
    return int(alive > 0)


def _runs(seeds: range, jobs: int, scenario_of: Callable[[int], Scenario]) -> int:
    began, ends, broken = time.monotonic(), collections.Counter[str](), 0
    for found, failures in batches(seeds, jobs, scenario_of):
        ends.update(found)
        broken += len(failures)
        for failure in failures:
            _say(failure)
    seconds = time.monotonic() - began
    _say(f"{len(seeds)} runs in {seconds:.0f} s ({len(seeds) / seconds:.0f} a second), {broken} broke a promise")
    for end, count in sorted(ends.items()):
        _say(f"  {count:>8} {end}")
    return int(broken > 0)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
