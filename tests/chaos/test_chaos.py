"""Eight processes on one record, killed and stopped: the short form of ``make chaos``."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.chaos.crew import Crew
from tests.chaos.kinds import KINDS, site
from tests.chaos.rounds import FAULTS, Fault, run, somewhere_in_the_save

pytestmark = [pytest.mark.slow, pytest.mark.long]

QUICK = [fault for fault in FAULTS if fault.stop != "long"]
LONG = [fault for fault in FAULTS if fault.stop == "long"]
POINTS = 15


@pytest.fixture(params=["grace", "strict"], scope="module")
def crew(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    [sqlite] = [kind for kind in KINDS if kind.name == "sqlite"]
    with site(sqlite, tmp_path_factory.mktemp("chaos"), has_grace=request.param == "grace") as crew:
        yield crew


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: " ".join([fault.name, *map(str, fault.doom or [])]))
def test_one_refresh_and_nothing_lost_that_could_be_kept(crew: Crew, fault: Fault) -> None:
    run(crew, fault)


@pytest.mark.parametrize("seed", range(POINTS))
def test_killed_anywhere_in_the_save_the_file_is_whole_and_everybody_told_the_same(crew: Crew, seed: int) -> None:
    run(crew, somewhere_in_the_save(random.Random(seed), crew.place))


def test_a_stopped_holder_blocks_nobody_beyond_its_time_to_live(crew: Crew) -> None:
    """While it stands still, all the others are answered. What a strict server makes of it, ``make chaos`` shows."""
    before, _, answered = LONG
    run(crew, answered if crew.has_grace else before)
