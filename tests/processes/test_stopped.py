"""The process that refreshes is stopped for a while: nobody waits longer than its time to live, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.processes.conftest import Fleet, Process

pytestmark = [pytest.mark.slow, pytest.mark.long]


def asked_again(process: Process) -> int:
    """The generation that it gets in the end: for a second it may tell once more what it was told before."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        answers = len(process.told("token") + process.told("error"))
        process.do("token").until_count(answers + 1, "token", "error")
        if process.told("token"):
            return int(process.told("token")[0])
    raise AssertionError(f"no token: {process.told('error')[-1]}")


SHORT: dict[str, Any] = {
    "http_timeout": 0.5,
    "patches": {"onerefresh.profile.SHORTEST_LEASE": 1.5, "onerefresh.profile.LONGEST_LEASE": 1.5},
}
"""A time to live of 1.5 s."""


def stopped_at(fleet: Fleet, gate: str, **config: Any) -> Process:
    """A process that has the lease and stands still, and that will go on from there when it is resumed."""
    holder = fleet.start(gates=[gate], **config)
    holder.do("token").until_gate(gate)
    holder.pause()
    holder.open(gate)
    return holder


def test_stopped_before_it_sends_another_takes_over_and_it_never_sends(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    holder = stopped_at(fleet, "claimed", **SHORT)
    others = fleet.start_many(3, **SHORT)
    assert [process.do("token").until_answered() for process in others] == [2, 2, 2]
    assert sum(len(process.events("taken_over")) for process in others) == 1
    holder.resume()
    assert holder.until("token") == 2
    assert holder.events("sent") == []
    assert fleet.server.counters.token_requests == 1


def test_stopped_after_a_rotation_with_grace_another_gets_the_same_answer(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet(mode="grace", grace=60.0)
    fleet.save_expired()
    config = {**SHORT, "profile": "grace:60"}
    holder = stopped_at(fleet, "answered", **config)
    others = fleet.start_many(2, **config)
    assert [process.do("token").until_answered() for process in others] == [2, 2]
    holder.resume()
    holder.until_event("orphaned")
    assert asked_again(holder) == 2
    counters = fleet.server.counters
    assert (counters.token_requests, counters.refreshes, counters.reissues) == (2, 1, 1)


LATE: dict[str, Any] = {
    "http_timeout": 3.0,
    "patches": {"onerefresh.profile.SHORTEST_LEASE": 1.5, "onerefresh.profile.LONGEST_LEASE": 1.5},
}
"""A time to live of 7.5 s, and 3 s in which a late commit is awaited."""


def test_the_late_commit_of_a_holder_thought_lost_is_adopted(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet(mode="reject_only")
    fleet.server.expect_reuse()
    fleet.save_expired()
    holder = stopped_at(fleet, "answered", **LATE)
    others = fleet.start_many(2, **LATE)
    fleet.server.hold("token")
    for process in others:
        process.do("token")
    fleet.server.wait_for("token")
    fleet.server.release("token")
    holder.resume()
    assert [process.until_answered() for process in others] == [2, 2]
    assert asked_again(holder) == 2
    assert fleet.server.counters.refreshes == 1
    assert fleet.server.counters.token_requests == 2


def test_a_session_thought_dead_lives_again_when_its_holder_comes_back(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet(mode="reject_only")
    fleet.server.expect_reuse()
    fleet.save_expired()
    holder = stopped_at(fleet, "answered", **SHORT)
    other = fleet.start(**SHORT)
    kind, text = other.do("token").until("error")
    assert kind == "LoginRequired"
    assert "taken over" in text
    holder.resume()
    holder.until_event("refreshed")
    assert asked_again(holder) == 2
    assert asked_again(other) == 2
    assert fleet.start(**SHORT).do("token").until_answered() == 2
    assert fleet.server.counters.token_requests == 2


def test_commands_that_end_before_the_time_to_live_do_not_wait_for_ever(new_fleet: Callable[..., Fleet]) -> None:
    """Each lives shorter than the lease, so only the clock that they share tells that it is over."""
    fleet = new_fleet()
    fleet.save_expired()
    config = {**SHORT, "http_timeout": 2.0}  # a time to live of 5 s
    stopped_at(fleet, "claimed", **config)
    answers = []
    for _ in range(60):
        command = fleet.start(max_wait=0.3, **config)
        answers.append(command.do("token").until_answered())
        command.finish()
        if answers[-1] == 2:
            break
    assert answers[0][0] == "WaitTimeout"
    assert answers[-1] == 2
    assert fleet.server.counters.token_requests == 1
