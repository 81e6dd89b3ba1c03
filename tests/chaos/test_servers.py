"""Eight processes on a store in a server, all of which are killed and stopped: the short form of ``make chaos``.

Each server is tried with what is hardest for it; ``make chaos`` tries everything with each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.chaos.crew import Crew
from tests.chaos.kinds import SERVERS, site
from tests.chaos.outages import OUTAGES, Cut, Outage, endure
from tests.chaos.rounds import FAULTS, Fault, run

pytestmark = [pytest.mark.slow, pytest.mark.long]

CRASHES = [outage for outage in OUTAGES if isinstance(outage, Outage) and outage.how == "crashed"]
STOPS = [outage for outage in OUTAGES if isinstance(outage, Outage) and outage.how == "frozen"]
FAILOVERS = [outage for outage in OUTAGES if isinstance(outage, Outage) and outage.how == "failing_over"]
CUTS = [outage for outage in OUTAGES if isinstance(outage, Cut)]


def named(thing: Outage | Cut | Fault) -> str:
    return thing.name


def crew_on(name: str, factory: pytest.TempPathFactory, *, has_grace: bool) -> Iterator[Crew]:
    [kind] = [kind for kind in SERVERS if kind.name == name]
    if kind.why_not is not None:
        pytest.skip(f"no {kind.name}: {kind.why_not}")
    with site(kind, factory.mktemp("chaos"), has_grace=has_grace) as crew:
        yield crew


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    yield from crew_on("valkey", tmp_path_factory, has_grace=True)


@pytest.mark.parametrize("outage", [*FAILOVERS, *CUTS], ids=named)
def test_valkey_that_forgets_a_write_or_breaks_off(valkey: Crew, outage: Outage | Cut) -> None:
    endure(valkey, outage, random.Random(1))


@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault.name in ("killed after the server rotated", "stopped shortly before sending")],
    ids=named,
)
def test_a_holder_on_valkey(valkey: Crew, fault: Fault) -> None:
    run(valkey, fault)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    yield from crew_on("valkey in memory", tmp_path_factory, has_grace=False)


@pytest.mark.parametrize("outage", [outage for outage in CRASHES if outage.until is None], ids=named)
def test_valkey_that_forgets_everything(in_memory: Crew, outage: Outage) -> None:
    endure(in_memory, outage, random.Random(1))


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    yield from crew_on("postgresql", tmp_path_factory, has_grace=False)


@pytest.mark.parametrize("outage", [*CRASHES, *STOPS], ids=named)
def test_postgresql_that_is_killed_or_stopped(postgres: Crew, outage: Outage) -> None:
    endure(postgres, outage, random.Random(1))


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name == "killed before sending"], ids=named)
def test_a_holder_on_postgresql(postgres: Crew, fault: Fault) -> None:
    run(postgres, fault)
