"""A thousand targets that refuse every token, and some that flap, cost few token requests, in all processes together.

Damping belongs to what was refused. So these could have a token refreshed for each of their paths, one after another.
"""

from __future__ import annotations

import random

import pytest
from tests.core.driver import START, make_lease, make_request, needy, refusing
from tests.effects import EFFECTS
from tests.regressions.targets import LIVES, Process, World, run
from tests.repetition import long

from onerefresh import Token
from onerefresh.damping import RefusedAt
from onerefresh.record import Grant
from onerefresh.renewal.commands import report_replay
from onerefresh.renewal.renew import renew
from onerefresh.transitions import claimed, committed, new_session, replay_reported


@pytest.fixture(params=range(2))
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.param)


def requests_of(world: World, processes: list[Process], paths: list[str], seconds: int) -> list[float]:
    """When tokens are refreshed where each second one of the processes calls each of these paths."""
    turn = 0

    def each_second() -> None:
        nonlocal turn
        turn += 1
        for number, path in enumerate(paths):
            processes[(turn + number) % len(processes)].get(path)

    return run(world, each_second, seconds)


AS_EVER = [0.0, 10.0, 30.0, 70.0, 150.0, 310.0, 630.0]
"""When one endpoint that refuses every token causes a refresh, in the first minutes."""


@pytest.mark.seconds
@pytest.mark.parametrize("knows_targets", [False, True])
@pytest.mark.parametrize("count", [1, 7])
def test_one_that_refuses_everything_costs_what_it_did(world: World, count: int, knows_targets: bool) -> None:
    processes = [Process(world, knows_targets=knows_targets) for _ in range(count)]
    found = requests_of(world, processes, ["/bad"], 320)
    assert found == AS_EVER[:6]


@pytest.mark.seconds
@pytest.mark.parametrize("count", [1, 3])
def test_so_do_a_thousand_such_beside_good_ones(world: World, count: int) -> None:
    processes = [Process(world) for _ in range(count)]
    paths = iter(range(100_000))

    def each_second() -> None:
        for process in processes:
            assert process.get("/good") == 200
            for _ in range(3):
                assert process.get(f"/bad/{next(paths) % 1000}") == 401

    assert len(run(world, each_second, 160)) <= len(AS_EVER[:5])


def flapping(path: str, generation: int, turns: dict[str, int]) -> bool:
    """Behind it, one replica accepts all tokens, and the other one none."""
    turns[path] = turns.get(path, 0) + 1
    return turns[path] % 2 == 0


@pytest.mark.seconds
def test_those_that_flap_beside_one_that_refuses_everything_are_counted(
    world: World, process: Process, chance: random.Random
) -> None:
    turns: dict[str, int] = {}
    world.bad = lambda path, generation: (
        path == "/bad" or (path.startswith("/flaps") and flapping(path, generation, turns))
    )
    paths = ["/bad", "/good", *(f"/flaps/{number}" for number in range(5))]
    chance.shuffle(paths)
    found = requests_of(world, [process], paths, 350)
    assert len(found) <= 2 * len(AS_EVER[:6]), "the bad one as ever, and as many again"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("by_turns", [True, *long(False)])
def test_all_of_them_together_in_several_processes(world: World, chance: random.Random, by_turns: bool) -> None:
    turns: dict[str, int] = {}

    def refuses(path: str, generation: int) -> bool:
        if not path.startswith("/flaps"):
            return path.startswith("/bad")
        return flapping(path, generation, turns) if by_turns else chance.random() < 0.5

    world.bad = refuses
    processes = [Process(world) for _ in range(4)]
    paths = iter(range(100_000))

    def each_second() -> None:
        calls = [
            (process, path)
            for process in processes
            for path in ("/good", f"/bad/{next(paths) % 1000}", f"/flaps/{next(paths) % 3}")
        ]
        chance.shuffle(calls)
        for process, path in calls:
            process.get(path)

    assert len(run(world, each_second, 350)) <= 2 * len(AS_EVER[:6])


@pytest.mark.parametrize("flaps", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_thousand_processes_share_one_count(flaps: int) -> None:
    """Each second another one is refused by a target that accepts nothing, and perhaps by some that flap."""
    told = needy(None, *[Token(f"a-{n}", f"r-{n}", expires_in=LIVES, issued_at=START) for n in range(99)])
    refreshed_at = []
    for number in range(350):
        for turn in range(1 + flaps):
            where = RefusedAt(f"flaps-{turn}", is_news=True) if turn else RefusedAt(f"bad-{number}")
            before = told.present.identity
            found = told.run(renew(EFFECTS, make_request(**refusing(told), refused_at=where)))
            if found.token.identity != before:
                refreshed_at.append(told.now)
                identity, accepted = told.present.identity, turn > 0
                told.run(report_replay(EFFECTS, identity, make_request(), accepted=accepted, target=where.target))
        told.now += 1.0
    if flaps:
        assert len(refreshed_at) <= 2 * len(AS_EVER[:6])
    else:
        assert refreshed_at == AS_EVER[:6]


@pytest.mark.seconds
def test_a_token_that_really_ends_beside_them_is_counted_with_them(world: World, process: Process) -> None:
    """Each second one that ends: at most as many token requests as where a target lies."""
    process.get("/bad")

    def each_second() -> None:
        process.get("/good")
        world.end_the_token()
        process.get("/good")
        process.get("/bad")

    assert len(run(world, each_second, 300)) <= 2 * len(AS_EVER)


def test_what_is_obtained_anew_goes_on_with_the_count() -> None:
    """Each token of `obtain=` begins a family of its own, and the targets of the API are the same."""
    record = new_session(None, Token("a", "r", expires_in=LIVES), now=START, owner=None, what="seed")
    for number in range(1, 4):
        clock = ("boot", 100.0 * number)
        record = replay_reported(record, accepted=False, now=START, target="bad", clock=clock)
        record = claimed(record, make_lease(f"{number}"), owner=None, let_through_at=clock)
        record = committed(
            record, Token(f"a-{number}"), by=f"{number}", grant=Grant.OBTAIN, now=START, refused=True, clock=clock
        )
        assert record.own_targets is not None
        assert record.own_targets.count == number
        assert [one.target for one in record.own_targets.refused] == ["bad"]
