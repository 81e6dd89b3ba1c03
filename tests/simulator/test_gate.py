"""The mutation gate: without any one of its rules the protocol fails, and the guide says how soon that is seen."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from tests.simulator import page
from tests.simulator.gate import MOST_SEEDS, hunt, named, scenario_of
from tests.simulator.mutants import MUTANTS, Mutant
from tests.simulator.run import simulate

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(480)]

GUIDE = Path(__file__).parents[2] / "docs" / "explanation" / "protocol.md"
MAKE_IT_ANEW = f"python -m tests.simulator --page {'/'.join(GUIDE.parts[-3:])}"


@functools.cache
def guide() -> str:
    return GUIDE.read_text("utf-8")


def rows() -> list[tuple[str, int]]:
    """What is done without each rule, and the number of seeds."""
    cells = [row.split(" | ") for row in page.part(guide(), page.GATE).splitlines()[2:]]
    return [(cell[1], int(cell[2])) for cell in cells]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_without_the_rule_a_promise_is_broken_within_the_seeds_that_the_guide_says(mutant: Mutant) -> None:
    bound = dict(rows())[named(mutant)]
    found = hunt(mutant, most=bound)
    assert found.report is not None, f"{bound} seeds and no promise broken: is the rule needed, is it tested?"


def test_the_guide_has_a_row_for_each_mutant() -> None:
    assert [name for name, _ in rows()] == [named(mutant) for mutant in MUTANTS]
    assert max(bound for _, bound in rows()) <= MOST_SEEDS


@pytest.mark.parametrize("mutant", page.SHOWN, ids=str)
def test_the_guide_shows_the_run_that_its_seed_is(mutant: Mutant) -> None:
    shown = page.part(guide(), page.rule_part(mutant.rule))
    assert page.example_of(mutant, page.seed_in(shown, mutant)) in shown, MAKE_IT_ANEW


def test_a_mutant_lives_only_in_its_block() -> None:
    for mutant in MUTANTS:
        with mutant.replace():
            pass
    for seed in range(20):
        assert simulate(scenario_of(MUTANTS[0], seed)).broken is None
