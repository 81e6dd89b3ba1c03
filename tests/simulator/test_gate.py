"""The mutation gate: without any one of its rules the protocol fails."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onerefresh.testing.simulator.gate import MOST_SEEDS, hunt, scenario_of
from onerefresh.testing.simulator.mutants import MUTANTS, Mutant
from onerefresh.testing.simulator.run import simulate

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[2] / "docs" / "explanation" / "protocol.md"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.rule}: {mutant.without}")
def test_without_the_rule_a_promise_is_broken(mutant: Mutant) -> None:
    found = hunt(mutant)
    assert found.report is not None, f"{MOST_SEEDS} seeds and no promise broken: is the rule needed, is it tested?"


def test_a_mutant_lives_only_in_its_block() -> None:
    for mutant in MUTANTS:
        with mutant.replace():
            pass
    for seed in range(20):
        assert simulate(scenario_of(MUTANTS[0], seed)).broken is None


def test_the_guide_has_the_table_of_the_gate() -> None:
    text = GUIDE.read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]*?)(?: \([^|]*\))? \| (\d+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert [(rule, without) for rule, without, _, _ in rows] == [(mutant.rule, mutant.without) for mutant in MUTANTS]
    assert all(int(seeds) <= MOST_SEEDS for _, _, seeds, _ in rows)
