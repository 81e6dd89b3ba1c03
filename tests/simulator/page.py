"""The parts of the protocol's page that runs have made: each rule's diagram, and the table of the mutation gate.

They stand between markers, and name their seeds, so that a test can make them once more.
"""

from __future__ import annotations

import re

from tests.simulator import gate
from tests.simulator.mutants import MUTANTS, Mutant
from tests.simulator.run import Report, simulate

__all__ = ["GATE", "SHOWN", "example_of", "part", "rewritten", "rule_part", "seed_in"]

GATE = "gate"
SHOWN = tuple(mutant for mutant in MUTANTS if mutant.shows)
"""The mutants of which the page shows a run."""


def _marked(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- simulated: {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)


def part(text: str, name: str) -> str:
    """What stands between the markers of `name`. Raises `LookupError` where the page has none."""
    found = _marked(name).search(text)
    if found is None:
        raise LookupError(f"the page has no part between <!-- simulated: {name} --> and <!-- end of {name} -->")
    return found[0].partition("\n")[2].rpartition("<!--")[0].strip("\n")


def rule_part(rule: str) -> str:
    """The name of the part that shows runs without this rule."""
    return f"rule {rule}"


def rewritten(text: str) -> str:
    """The page with every part made anew: a hunt through hundreds of seeds for each."""
    for rule in dict.fromkeys(mutant.rule for mutant in SHOWN):
        examples = [example_of(mutant, _shortest(mutant)) for mutant in SHOWN if mutant.rule == rule]
        text = _put(text, rule_part(rule), "\n\n".join(examples))
    return _put(text, GATE, "\n".join(gate.table()))


def _put(text: str, name: str, made: str) -> str:
    part(text, name)  # is there
    return _marked(name).sub(lambda found: f"{found[1]}\n{made}\n\n{found[2]}", text)


def _shortest(mutant: Mutant) -> Report:
    report = gate.example(mutant)
    if report is None:
        raise LookupError(f"no run is known that breaks a promise without the rule: {mutant}")
    return report


def example_of(mutant: Mutant, report: Report | int) -> str:
    """A run without the rule, as the page shows it; `report`: or its seed."""
    if isinstance(report, int):
        with mutant.replace():
            report = simulate(gate.scenario_of(mutant, report), account=True)
    return (
        f"Without it ({mutant.without}): {mutant.shows}. Seed {report.scenario.seed}:\n\n"
        f"```mermaid\n{report.account.mermaid()}\n```\n\n"
        f"Broken: *{report.broken}*"
    )


def seed_in(text: str, mutant: Mutant) -> int:
    """The seed of the run that the page shows for `mutant`. Raises `LookupError`."""
    found = re.search(rf"^Without it \({re.escape(mutant.without)}\): .* Seed (\d+):$", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"the page shows no run for: {mutant}")
    return int(found[1])
