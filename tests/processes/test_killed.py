"""The process that refreshes is killed: before it sends, before it saves, and while it saves."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.processes.conftest import Fleet, Process

pytestmark = pytest.mark.slow


def waiting(fleet: Fleet, holder: Process, count: int, **config: object) -> list[Process]:
    """Processes that wait for the holder's refresh."""
    processes = fleet.start_many(count, **config)
    for process in processes:
        process.do("token").until_event("waiting")
    return processes


def taken_over(processes: list[Process]) -> int:
    return sum(len(process.events("taken_over")) for process in processes)


def test_killed_before_it_sends_another_takes_over_at_once(new_fleet: Callable[..., Fleet]) -> None:
    # At once: the shortest time to live is longer than the patience of `until`.
    fleet = new_fleet()
    fleet.save_expired()
    holder = fleet.start(gates=["before sending"])
    holder.do("token").until_gate("before sending")
    others = waiting(fleet, holder, 3)
    holder.kill()
    assert [process.until("token") for process in others] == [2, 2, 2]
    assert taken_over(others) == 1
    assert fleet.server.counters.token_requests == 1


def test_short_commands_go_on_at_once_after_one_of_them_was_killed(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    holder = fleet.start(gates=["before sending"])
    holder.do("token").until_gate("before sending")
    holder.kill()
    for _ in range(2):
        command = fleet.start(max_wait=10.0)
        assert command.do("token").until_answered() == 2
        command.finish()
    assert fleet.server.counters.token_requests == 1


def test_after_a_restart_of_the_machine_nobody_waits_for_what_was_before(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    holder = fleet.start(gates=["before sending"], boot="before")
    holder.do("token").until_gate("before sending")
    holder.kill()
    command = fleet.start(boot="after", max_wait=10.0)
    assert command.do("token").until_answered() == 2
    assert taken_over([command]) == 1


def test_killed_after_the_server_rotated_everybody_is_answered_within_the_grace(
    new_fleet: Callable[..., Fleet],
) -> None:
    fleet = new_fleet(mode="grace", grace=60.0)
    fleet.save_expired()
    holder = fleet.start(gates=["answered"], profile="grace:60")
    holder.do("token").until_gate("answered")
    others = waiting(fleet, holder, 3, profile="grace:60")
    holder.kill()
    assert [process.until("token") for process in others] == [2, 2, 2]
    assert taken_over(others) == 1
    counters = fleet.server.counters
    assert (counters.token_requests, counters.refreshes, counters.reissues) == (2, 1, 1)


def test_killed_after_a_strict_server_rotated_everybody_is_told_why_in_the_same_words(
    new_fleet: Callable[..., Fleet],
) -> None:
    fleet = new_fleet()
    fleet.server.expect_reuse()
    fleet.save_expired()
    holder = fleet.start(gates=["answered"])
    holder.do("token").until_gate("answered")
    others = waiting(fleet, holder, 3)
    holder.kill()
    errors = [process.until("error") for process in others]
    assert errors == [errors[0]] * 3
    kind, text = errors[0]
    assert kind == "LoginRequired"
    assert "log in again" in text
    assert "taken over" in text
    assert fleet.server.counters.token_requests == 2
    assert fleet.start().do("token").until("error") == errors[0]
    assert fleet.server.counters.token_requests == 2


COMMIT = [
    ("before", "PRAGMA journal_mode"),
    ("before", "BEGIN"),
    ("before", "INSERT"),
    ("after", "INSERT"),
    ("before", "COMMIT"),
    ("after", "COMMIT"),
]


@pytest.mark.parametrize(("when", "statement"), COMMIT, ids=[f"{when} {what}" for when, what in COMMIT])
def test_killed_while_it_saves_nobody_loses_the_session(
    new_fleet: Callable[..., Fleet], when: str, statement: str
) -> None:
    fleet = new_fleet(mode="grace", grace=60.0)
    fleet.save_expired()
    holder = fleet.start(die=[when, statement], profile="grace:60")
    assert holder.do("token").wait() != 0
    others = fleet.start_many(2, profile="grace:60")
    assert [process.do("token").until_answered() for process in others] == [2, 2]
    saved = (when, statement) == ("after", "COMMIT")
    assert fleet.server.counters.token_requests == (1 if saved else 2)


@pytest.mark.parametrize("seed", range(6))
def test_killed_somewhere_in_the_commit_the_file_is_whole(new_fleet: Callable[..., Fleet], seed: int) -> None:
    fleet = new_fleet(mode="grace", grace=60.0)
    fleet.save_expired()
    holder = fleet.start(die=["during", "COMMIT"], profile="grace:60")
    holder.do("token").until("doomed")
    time.sleep(random.Random(seed).uniform(0.0, 0.01))  # the point in the commit is what varies; none is awaited
    holder.kill()
    other = fleet.start(profile="grace:60")
    assert other.do("token").until_answered() == 2
    assert sound(fleet.database)
    assert fleet.server.counters.token_requests in (1, 2)


def sound(database: Path) -> bool:
    with sqlite3.connect(database) as connection:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return bool(said == "ok")
