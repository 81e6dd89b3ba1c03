"""The parts of the simulated world, each by itself: what they do must be what real ones do."""

from __future__ import annotations

import pytest
from tests.simulator.account import Account
from tests.simulator.faults import Fault, Faults, Point, What
from tests.simulator.run import simulate
from tests.simulator.scenario import Scenario
from tests.simulator.server import AuthorizationServer, Kind, Manner, Refused
from tests.simulator.store import SimulatedStore
from tests.simulator.timeline import Timeline

from onerefresh.errors import StoreUnavailable
from onerefresh.record import Record, State
from onerefresh.store import Conflict


def refresh_twice(manner: Manner, *, after: float) -> tuple[str, bool]:
    """What the second use of a refresh token brings, and whether the session lives on."""
    server = AuthorizationServer(manner)
    first = server.log_in(0.0)
    assert first.refresh is not None
    second = server.refresh(first.refresh, 1.0)
    try:
        third = server.refresh(first.refresh, 1.0 + after)
    except Refused:
        said = "refused"
    else:
        said = "the same" if third.refresh == second.refresh else "another"
    leaf = second.refresh or first.refresh
    try:
        server.refresh(leaf, 1.5 + after)
    except Refused:
        return said, False
    return said, True


@pytest.mark.parametrize(
    ("manner", "after", "expected"),
    [
        (Manner(Kind.STATIC), 1.0, ("the same", True)),
        (Manner(Kind.STATIC, repeats=False), 1.0, ("the same", True)),
        (Manner(Kind.GRACE, grace=10.0), 5.0, ("the same", True)),
        (Manner(Kind.GRACE, grace=10.0, siblings=True), 5.0, ("another", True)),
        (Manner(Kind.GRACE, grace=10.0, forgiving=True), 20.0, ("refused", True)),
        (Manner(Kind.GRACE, grace=10.0), 20.0, ("refused", False)),
        (Manner(Kind.REJECT_ONLY), 1.0, ("refused", True)),
        (Manner(Kind.REVOKE_FAMILY), 1.0, ("refused", False)),
    ],
)
def test_a_refresh_token_is_used_twice(manner: Manner, after: float, expected: tuple[str, bool]) -> None:
    assert refresh_twice(manner, after=after) == expected


@pytest.mark.parametrize("dies", [True, False])
def test_an_access_token_dies_with_its_refresh_its_end_or_its_session(dies: bool) -> None:
    server = AuthorizationServer(Manner(Kind.REVOKE_FAMILY, old_access_dies=dies, expires_in=60.0))
    first = server.log_in(0.0)
    assert first.refresh is not None
    assert server.accepts(first.access, 59.0)
    assert not server.accepts(first.access, 60.0)
    second = server.refresh(first.refresh, 1.0)
    assert server.accepts(first.access, 2.0) is not dies
    with pytest.raises(Refused):
        server.refresh(first.refresh, 2.0)
    assert not server.accepts(second.access, 2.0)


def record(generation: int) -> Record:
    return Record(families=("f",), generation=generation, state=State.IDLE)


def test_the_store_compares_and_swaps_and_its_versions_never_come_back() -> None:
    timeline = Timeline()
    seen: list[int] = []
    store = SimulatedStore(timeline, lambda _, after: seen.append(after.generation))
    versions = [store.cas(None, record(1))]
    with pytest.raises(Conflict):
        store.cas(None, record(2))
    for generation in (2, 3):
        timeline.now += 1.0
        versions.append(store.cas(store.version, record(generation)))
    assert store.go_back(0.5)
    assert store.record is not None
    assert store.record.generation == 2
    assert store.version not in versions
    assert not store.go_back(0.5)
    assert store.go_back(10.0)
    assert store.record.generation == 1
    assert seen == [1, 2, 3]


def test_a_store_that_is_down_neither_reads_nor_writes() -> None:
    timeline = Timeline()
    store = SimulatedStore(timeline, lambda *_: None)
    store.go_down(2.0)
    with pytest.raises(StoreUnavailable):
        store.load()
    with pytest.raises(StoreUnavailable):
        store.cas(None, record(1))
    timeline.now = 2.0
    assert store.load().record is None


def test_things_happen_in_the_order_of_their_times() -> None:
    timeline = Timeline()
    seen: list[str] = []
    for seconds, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (9.0, "d")):
        timeline.after(seconds, seen.append, name)
    assert timeline.run(5.0, most=10)
    assert (seen, timeline.now) == (["a", "b", "c"], 5.0)
    assert not timeline.run(10.0, most=3)


def test_a_fault_strikes_its_occurrence_and_only_once() -> None:
    first, second = Fault(What.CRASH_BEFORE, Point.SEND, 2), Fault(What.LOST_ANSWER, Point.SEND, 2)
    faults = Faults([first, second])
    struck = [faults.strike(point) for point in (Point.SEND, Point.LOAD, Point.SEND, Point.SEND, Point.SEND)]
    assert struck == [None, None, first, second, None]


def test_an_account_that_is_not_kept_is_empty() -> None:
    account = Account(kept=False)
    account.say(1.0, "somebody", "does something")
    assert str(account) == ""
    assert simulate(Scenario.of(1)).account.lines == []
