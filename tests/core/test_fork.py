"""Forked children start clean: no flight that nobody flies, no lock that nobody holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.core.children import Child

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("refused", ["no", "yes"])
def test_a_child_that_is_forked_in_the_middle_of_a_flight_refreshes_for_itself(refused: str) -> None:
    with Child("fork_in_flight", store="memory", refused=refused) as parent:
        has = "access-0" if refused == "yes" else "nothing"
        assert parent.rest() == [
            f"the child has {has}",
            "refreshed by the child",
            "the child got its own token of generation 2",
            "refreshed by the parent",
            "the parent got generation 2",
        ]
        assert parent.wait() == 0


@pytest.mark.parametrize("refused", ["no", "yes"])
def test_a_child_with_the_store_of_its_parent_waits_for_the_parents_refresh(refused: str, tmp_path: Path) -> None:
    with Child("fork_in_flight", store=f"sqlite:///{tmp_path}/tokens.db", refused=refused) as parent:
        lines = parent.rest()
        assert parent.wait() == 0
    assert sorted(lines[1:]) == [
        "refreshed by the parent",
        "the child got the parent's token of generation 2",
        "the parent got generation 2",
    ]


@pytest.mark.long
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_children_that_are_forked_at_any_moment_get_a_token(store: str, tmp_path: Path) -> None:
    url = "memory" if store == "memory" else f"sqlite:///{tmp_path}/tokens.db"
    with Child("fork_often", store=url) as parent:
        assert parent.rest() == ["40 of 40"]
        assert parent.wait() == 0


def test_forked_workers_do_not_refresh_in_step() -> None:
    with Child("fork_jitter") as parent:
        spreads = [line.split() for line in parent.rest()]
    assert len({first for first, _ in spreads}) == 5
    assert len({second for _, second in spreads}) == 5
