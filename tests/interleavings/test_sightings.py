"""A renewal and a look in the background remember at the same time: nothing of it is lost, and nobody waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.core.calls import PATIENCE
from tests.core.test_sightings import at, failed_at
from tests.interleavings.shaking import shaken

from onerefresh import transitions as records
from onerefresh.record import Grant, Lease, State
from onerefresh.renewal import sightings as room
from onerefresh.renewal.atomic import Atomic
from onerefresh.renewal.servers import Servers
from onerefresh.renewal.sightings import Sightings
from onerefresh.verdict import FailureKind

Act = Callable[[Sightings], object]
LEASE = Lease("mine", Grant.REFRESH, 30.0)
LOST, REFUSED = failed_at(2, FailureKind.NO_ANSWER), failed_at(1, FailureKind.DEAD, state=State.DEAD)
EMPTIED = records.logged_out(failed_at(3, FailureKind.NO_ANSWER), now=1_800_000_000.0)
NOW = at(9.0, "server")

ACTS: dict[str, tuple[Act, Callable[[Sightings], bool]]] = {
    "an attempt's end": (
        lambda seen: seen.ends(LEASE, LOST),
        lambda seen: seen.end_of(replace(LOST, lease=LEASE), knows_a_session=True) == LOST,
    ),
    "a failure": (
        lambda seen: seen.remember(REFUSED),
        lambda seen: seen.recalled(replace(REFUSED, state=State.IDLE, failure=None)) == REFUSED,
    ),
    "a logout": (lambda seen: seen.sees_a_logout(EMPTIED), lambda seen: seen.know_a_logout),
    "a server": (lambda seen: seen.sees(NOW), lambda seen: seen.state.server == "server"),
    "a damped refusal": (lambda seen: seen.is_new(("family", 1)), lambda seen: not seen.is_new(("family", 1))),
    "a date": (lambda seen: seen.dated(LOST, NOW), lambda seen: seen.state.failure is not None),
}


class Gated(Sightings):
    """The first change stops where it has read the state, and not yet replaced it."""

    def __init__(self) -> None:
        servers = Servers()
        servers.sees(at(0.0, "another server"))  # the first one is known without a change
        super().__init__(servers)
        self.has_read, self.goes_on = threading.Event(), threading.Event()

    def change(self, made_of: Callable[[room._State], room._State]) -> tuple[room._State, room._State]:
        def stopped(state: room._State) -> room._State:
            made = made_of(state)
            if not self.has_read.is_set():
                self.has_read.set()
                assert self.goes_on.wait(PATIENCE)
            return made

        return super().change(stopped)


@pytest.mark.parametrize("second", ACTS)
@pytest.mark.parametrize("first", ACTS)
def test_a_change_that_comes_in_the_middle_of_another_one_is_kept(first: str, second: str) -> None:
    seen = Gated()
    late = threading.Thread(target=ACTS[first][0], args=(seen,))
    late.start()
    assert seen.has_read.wait(PATIENCE)
    ACTS[second][0](seen)  # it does not wait for the other one
    seen.goes_on.set()
    late.join(PATIENCE)
    assert ACTS[first][1](seen)
    assert ACTS[second][1](seen)


def test_of_two_who_see_a_damped_refusal_at_the_same_time_one_reports_it() -> None:
    seen, told = Gated(), list[bool]()
    late = threading.Thread(target=lambda: told.append(seen.is_new(("family", 1))))
    late.start()
    assert seen.has_read.wait(PATIENCE)
    told.append(seen.is_new(("family", 1)))
    seen.goes_on.set()
    late.join(PATIENCE)
    assert told == [True, False]


def test_no_change_of_many_threads_is_lost() -> None:
    changed = Atomic[tuple[int, ...]](())

    def change(number: int) -> None:
        for each in range(200):
            changed.change(lambda state, new=number * 1_000 + each: (*state, new))  # type: ignore[misc]  # the default

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    with shaken(1):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert sorted(changed.state) == [number * 1_000 + each for number in range(4) for each in range(200)]
    for number in range(4):
        own = [each for each in changed.state if each // 1_000 == number]
        assert own == sorted(own)


def test_nothing_is_kept_of_earlier_states() -> None:
    changed = Atomic(0)
    for _ in range(100):
        changed.change(lambda state: state + 1)
    assert changed.state == 100
    assert [step.following for step in changed._lately.values()] == [{}]
    assert changed.change(lambda state: state) == (100, 100)


def test_a_server_that_another_thread_is_about_to_note_is_no_error() -> None:
    servers = Servers()
    other, seen = Sightings(servers), list[bool]()

    class Gate(dict[str, float]):
        def setdefault(self, server: str, now: float = 0.0) -> float:
            seen.append(other.is_unsettled(at(0.0, None), 5.0))  # another thread, whose store gives no time
            return super().setdefault(server, now)

    servers._first_sight, servers._since = Gate(), Gate()
    servers.sees(at(0.0, "server"))
    assert seen == [False, False]
    assert servers.first == "server"
