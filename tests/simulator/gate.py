"""The mutation gate: without any one of its rules, the protocol must fail the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.simulator.mutants import MUTANTS, Mutant
from tests.simulator.run import NO_DEFECTS, Report, simulate
from tests.simulator.scenario import Scenario

__all__ = ["MOST_SEEDS", "NOTHING", "Found", "example", "hunt", "named", "scenario_of", "table"]

MOST_SEEDS = 1_500
"""Seeds within which every mutant is to be found out."""
BOUNDS = (3, 10, 30, 100, 300, 1_000, MOST_SEEDS)
"""What the guide says of the seeds that it takes: a bound, so that a change of the dice alone changes no text."""
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Found:
    """How a mutant was found out: after so many `seeds`, the last of which is `seed`; None: it was not."""

    mutant: Mutant
    seeds: int
    report: Report | None

    @property
    def broke(self) -> str:
        return self.report.broken.promise if self.report is not None and self.report.broken is not None else NOTHING

    @property
    def row(self) -> str:
        """As a row of the gate's table."""
        bound = next(bound for bound in BOUNDS if bound >= self.seeds)
        seeds = str(bound) if self.report is not None else f"> {bound}"
        return f"| {self.mutant.rule} | {named(self.mutant)} | {seeds} | {self.broke} |"


def named(mutant: Mutant) -> str:
    """What is done without the rule, and the scenarios to which it is narrowed."""
    kind = f", {mutant.kind}" if mutant.kind else ""
    return f"{mutant.without} ({mutant.plan}{kind})" if mutant.plan else mutant.without


def hunt(mutant: Mutant, *, most: int = MOST_SEEDS, first: int = 0) -> Found:
    """Run seeds until the mutant breaks a promise that the protocol itself keeps in the same scenario."""
    for count, seed in enumerate(range(first, first + most), 1):
        scenario = scenario_of(mutant, seed)
        with mutant.replace():
            report = simulate(scenario)
        if _is_caught(report) and simulate(scenario).broken is None:
            return Found(mutant, count, report)
    return Found(mutant, most, None)


def _is_caught(report: Report) -> bool:
    """Whether a promise was broken: a piece that does not fit in its place proves nothing about the rule."""
    return report.broken is not None and report.broken.promise != NO_DEFECTS


def example(mutant: Mutant, *, most: int = 400) -> Report | None:
    """The shortest account of a run that breaks a promise without the rule, and keeps it with it."""
    found: Report | None = None
    for seed in range(most):
        scenario = scenario_of(mutant, seed)
        with mutant.replace():
            report = simulate(scenario, account=True)
        shorter = found is None or len(report.account.lines) < len(found.account.lines)
        if _is_caught(report) and shorter and simulate(scenario).broken is None:
            found = report
    return found


def scenario_of(mutant: Mutant, seed: int) -> Scenario:
    """The scenario of a seed, narrowed to what the mutant's rule is about."""
    fixed: dict[str, Any] = dict(mutant.fixed)
    return Scenario.of(seed, plan=mutant.plan, kind=mutant.kind, **fixed)


def table(*, most: int = MOST_SEEDS) -> Iterator[str]:
    """All mutants, as the rows of a markdown table."""
    yield "| rule | without it | seeds, at most | what broke |"
    yield "| --- | --- | --- | --- |"
    for mutant in MUTANTS:
        yield hunt(mutant, most=most).row
