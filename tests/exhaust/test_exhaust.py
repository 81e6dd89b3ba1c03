"""The bounded part: one fault at any effect, planted defects that must be found, and whether merging is sound."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Generator

import pytest
from tests.exhaust.broken import Broken
from tests.exhaust.defects import DEFECTS, Defect
from tests.exhaust.explore import explore, told
from tests.exhaust.judge import judge_end
from tests.exhaust.renewals import Renewals
from tests.exhaust.setups import Server, Setup, Store
from tests.exhaust.shapes import WALL, form_of
from tests.exhaust.world import World


def clean(setup: Setup) -> int:
    """Explore to the end, where nothing may be found; the number of states."""
    result = explore(setup)
    assert result.broken is None, f"{result.broken}\n{told(setup, result.schedule)}"
    assert result.complete
    assert result.ends["usable"] > 0
    return result.states


@pytest.mark.seconds
@pytest.mark.parametrize("server", Server, ids=lambda server: server.value)
def test_no_schedule_with_one_fault_breaks_a_promise(server: Server) -> None:
    assert clean(Setup(server, Store.CLOCK, faults=1)) > 1_000


def test_no_schedule_on_one_host_breaks_a_promise() -> None:
    for start in ({}, {"knows": False}, {"refused": True}):
        assert clean(Setup(Server.REVOKE, Store.FLOCK, faults=0, **start)) > 100


def test_no_schedule_of_three_processes_breaks_a_promise() -> None:
    assert clean(Setup(Server.REVOKE, Store.BARE, processes=3, faults=0)) > 100


@pytest.mark.slow
@pytest.mark.long
def test_no_schedule_with_one_fault_on_one_host_breaks_a_promise() -> None:
    assert clean(Setup(Server.REVOKE, Store.FLOCK, faults=1)) > 5_000


@pytest.mark.seconds
@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_a_planted_defect_is_found(defect: Defect) -> None:
    with defect.replace():
        result = explore(defect.setup, most=20_000)
    assert result.broken is not None
    assert result.broken.promise == defect.breaks
    with defect.replace():
        assert defect.breaks in told(defect.setup, result.schedule)  # the schedule alone is enough to see it again


def futures(world: World) -> frozenset[object]:
    """Where a world may go from here; and where nobody can go on, how it ends."""
    if world.is_over:
        return frozenset([judge_end(copy.copy(world))])
    found: set[object] = set()
    for choice in world.choices():
        try:
            found.add(world.after(choice).key())
        except Broken as broken:
            found.add(broken.promise)
    return frozenset(found)


@pytest.mark.parametrize("store", [Store.CLOCK, Store.FLOCK], ids=lambda store: store.value)
def test_worlds_that_are_merged_go_on_in_the_same_way(store: Store) -> None:
    setup = Setup(Server.GRACE, store, faults=1)
    renewals = Renewals(setup)
    first = World(setup, renewals, renewals.record())
    known, left, merged = {first.key(): first}, deque([first]), 0
    while left and merged < 400:
        world = left.popleft()
        for choice in () if world.is_over else world.choices():
            other = world.after(choice)
            twin = known.setdefault(other.key(), other)
            if twin is other:
                left.append(other)
            else:
                merged += 1
                assert futures(twin) == futures(other)
    renewals.close()
    assert merged >= 400  # the choices of the last world are all looked at


def test_a_form_tells_apart_what_goes_on_differently() -> None:
    async def waits(count: int) -> None:
        for _ in range(count):
            await _Pause()

    def stands(count: int, steps: int) -> object:
        routine = waits(count)
        for _ in range(steps):
            routine.send(None)
        form = form_of(routine)
        routine.close()
        return form

    assert stands(3, 1) == stands(3, 1)
    assert stands(3, 1) != stands(3, 2)  # the same line and the same variables: the loop's counter lies on the stack
    assert stands(3, 1) != stands(2, 1)


def test_a_time_and_a_name_are_no_part_of_a_shape() -> None:
    one, other = form_of((WALL + 1.0, "as ~a", 0.5)), form_of((WALL + 2.0, "as ~b", 0.5))
    assert one.shape == other.shape
    assert (one.times, one.names) == ((1.0,), ("~a",))
    assert one.shape != form_of((WALL + 1.0, "as ~a", 0.25)).shape
    assert one.shape != form_of((WALL + 1.0, "~a", 0.5)).shape


@pytest.mark.parametrize("unknown", [object(), memoryview(b""), "~a is not all"], ids=["object", "view", "text"])
def test_what_has_no_form_is_refused(unknown: object) -> None:
    with pytest.raises(TypeError):
        form_of(unknown)


class _Pause:
    def __await__(self) -> Generator[object, None, None]:
        yield self
