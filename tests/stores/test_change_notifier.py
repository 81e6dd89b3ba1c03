"""Waiting for many keys on one line: no change is missed, nobody is woken for nothing, it is open only meanwhile."""

from __future__ import annotations

import time
from collections.abc import Collection

import pytest
from tests.stores.board import (
    LONG,
    PATIENCE,
    Board,
    BoardSubscription,
    LookingLine,
    Sleeper,
    asleep,
    is_listening,
    until,
)

from onerefresh import threads
from onerefresh.stores import change_notifier
from onerefresh.stores.change_notifier import ChangeNotifier


@pytest.fixture(params=[BoardSubscription, LookingLine])
def any_board(board: Board, request: pytest.FixtureRequest) -> Board:
    """Each kind of line."""
    board.kind = request.param
    return board


def listeners() -> list[threads.Job]:
    return [job for job in list(threads._jobs) if job.name == "onerefresh listener"]


# --- No change is missed ---


def test_a_change_wakes_who_waits_once(any_board: Board) -> None:
    notifier = ChangeNotifier(any_board.connect)
    first = asleep(notifier)
    any_board.change("acme")
    first.until_woken()
    second = asleep(notifier)
    any_board.change("acme")
    second.until_woken()
    assert (first.count, second.count) == (1, 1)


def test_a_change_between_the_read_and_the_subscription_ends_the_wait(board: Board) -> None:
    notifier = ChangeNotifier(board.connect)
    first, since = asleep(notifier), time.monotonic()
    board.change("acme")
    first.until_woken()
    assert Sleeper(notifier, since=since).wakeup.within == 0.0
    assert Sleeper(notifier).wakeup.within > 0.0, "it has seen the change"


def test_a_change_before_the_line_listens_ends_the_wait(any_board: Board) -> None:
    any_board.gate.clear()
    sleeper = Sleeper(ChangeNotifier(any_board.connect))
    any_board.until(lambda: any_board.opened == 1)
    any_board.change("acme")
    any_board.version = "2"
    assert sleeper.count == 0, "nobody can tell yet"
    any_board.gate.set()
    sleeper.until_woken()
    assert sleeper.count == 1


def test_a_change_while_nobody_waits_ends_the_next_wait_of_who_has_not_seen_it(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_notifier, "LINGER", LONG)
    notifier = ChangeNotifier(board.connect)
    asleep(notifier).end()
    since, waits = time.monotonic(), notifier._waits["acme"]
    board.change("acme")
    until(lambda: waits.sure_since > since)
    assert Sleeper(notifier, since=since).wakeup.within == 0.0
    assert Sleeper(notifier).wakeup.within > 0.0
    assert board.opened == 1


def test_a_key_that_joins_late_misses_nothing(any_board: Board) -> None:
    notifier = ChangeNotifier(any_board.connect)
    acme = asleep(notifier)
    any_board.gate.clear()
    other = Sleeper(notifier, "other")
    any_board.change("other")
    any_board.version = "2"
    any_board.gate.set()
    other.until_woken()
    assert acme.count == 0


# --- Nobody is woken for nothing ---


def test_a_change_of_another_key_wakes_nobody(any_board: Board) -> None:
    notifier = ChangeNotifier(any_board.connect)
    acme, other = asleep(notifier), asleep(notifier, "other")
    any_board.change("other")
    other.until_woken()
    assert acme.count == 0
    any_board.change("acme")
    acme.until_woken()
    assert other.count == 1


def test_who_has_ended_is_not_woken(any_board: Board) -> None:
    notifier = ChangeNotifier(any_board.connect)
    ended, stays = asleep(notifier), asleep(notifier)
    ended.end()
    ended.end()
    any_board.change("acme")
    stays.until_woken()
    assert ended.count == 0


def test_the_same_function_may_wait_twice(board: Board) -> None:
    notifier, woken = ChangeNotifier(board.connect), [0]
    stays = asleep(notifier)

    def wake() -> None:
        woken[0] += 1

    first, _second = (notifier.subscribe("acme", "1", time.monotonic(), wake) for _ in range(2))
    first.end()
    board.change("acme")
    stays.until_woken()
    asleep(notifier)  # by now all have been woken
    assert woken == [1]


def test_who_is_woken_may_subscribe_and_end_at_once(board: Board) -> None:
    notifier = ChangeNotifier(board.connect)
    again: list[Sleeper] = []

    def wake() -> None:
        again.append(Sleeper(notifier))
        again[-1].end()

    notifier.subscribe("acme", "1", time.monotonic(), wake)
    until(lambda: again)


def test_a_wait_may_be_ended_under_any_lock(board: Board) -> None:
    notifier = ChangeNotifier(board.connect)
    sleeper = asleep(notifier)
    with notifier._lock:
        sleeper.end()
    assert not notifier._waits["acme"].waiters


# --- One line ---


def test_many_keys_share_one_line(any_board: Board) -> None:
    earlier = listeners()  # those of other tests linger for a moment
    notifier = ChangeNotifier(any_board.connect)
    sleepers = [asleep(notifier, f"key {number % 10}") for number in range(40)]
    assert (any_board.opened, len([each for each in listeners() if each not in earlier])) == (1, 1)
    assert any_board.asked[-1] == {f"key {number}" for number in range(10)}
    for number in range(10):
        any_board.change(f"key {number}")
    for sleeper in sleepers:
        sleeper.until_woken()
    assert {sleeper.count for sleeper in sleepers} == {1}
    assert any_board.opened == 1


def test_who_comes_back_finds_the_line_still_listening(any_board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_notifier, "LINGER", LONG)
    monkeypatch.setattr(change_notifier, "TURN", 0.001)
    turns: list[float] = []

    class CountingLine(any_board.kind):  # type: ignore[name-defined, misc]  # one of two
        def receive(self, seconds: float) -> Collection[str]:
            turns.append(seconds)
            return super().receive(seconds)  # type: ignore[no-any-return]

    any_board.kind = CountingLine
    notifier = ChangeNotifier(any_board.connect)
    for _ in range(3):
        asleep(notifier).end()
        whole = len(turns) + 2  # one at least has begun and ended with nobody waiting
        until(lambda whole=whole: len(turns) >= whole)  # type: ignore[misc]  # bound at once
    assert (any_board.opened, any_board.closed) == (1, 0)


def test_the_line_is_closed_when_all_have_ended(any_board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = ChangeNotifier(any_board.connect)
    sleepers = [asleep(notifier, key) for key in ("acme", "other")]
    monkeypatch.setattr(change_notifier, "LINGER", 0.0)
    listener = notifier._listener
    for sleeper in sleepers:
        sleeper.end()
    any_board.until(lambda: any_board.closed == any_board.opened)
    assert listener is not None
    assert listener.over.wait(PATIENCE)
    assert notifier._waits == {}
    monkeypatch.undo()
    again = asleep(notifier)
    any_board.change("acme")
    again.until_woken()


def test_a_key_for_which_nobody_waits_is_listened_to_no_longer(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = ChangeNotifier(board.connect)
    stays, goes = asleep(notifier, "stays"), asleep(notifier, "goes")
    monkeypatch.setattr(change_notifier, "LINGER", 0.0)
    goes.end()
    board.until(lambda: board.asked[-1:] == [{"stays"}])
    board.change("stays")
    stays.until_woken()


# --- A line that looks for those who wait, and whose connection they need next ---


@pytest.fixture
def looking(board: Board) -> Board:
    board.kind = LookingLine
    return board


def test_where_the_line_has_read_the_same_version_nobody_is_woken(looking: Board) -> None:
    notifier = ChangeNotifier(looking.connect)
    sleeper = Sleeper(notifier)
    until(lambda: is_listening(notifier))
    assert sleeper.count == 0
    looking.change("acme")
    sleeper.until_woken()
    assert sleeper.count == 1


def test_the_last_are_woken_when_the_line_is_closed(looking: Board) -> None:
    looking.may_close.clear()
    notifier = ChangeNotifier(looking.connect)
    sleeper = asleep(notifier)
    looking.change("acme")
    looking.until(lambda: looking.closing == 1)
    assert sleeper.count == 0
    later = Sleeper(notifier)
    looking.until(lambda: looking.opened == 2)
    looking.may_close.set()
    sleeper.until_woken()
    until(lambda: is_listening(notifier))
    looking.change("acme")
    later.until_woken()


def test_while_others_wait_for_something_else_the_line_stays(looking: Board) -> None:
    notifier = ChangeNotifier(looking.connect)
    acme, other = asleep(notifier), asleep(notifier, "other")
    looking.change("other")
    other.until_woken()
    assert (acme.count, looking.opened, looking.closed) == (0, 1, 0)
    looking.change("acme")  # the other one was woken, and waits no more, although it has not ended
    acme.until_woken()
    assert (looking.opened, looking.closed) == (1, 1)


def test_a_line_whose_connection_nobody_needs_stays_when_all_are_woken(board: Board) -> None:
    notifier = ChangeNotifier(board.connect)
    sleeper = asleep(notifier)
    listener = notifier._listener
    board.change("acme")
    sleeper.until_woken()
    assert notifier._listener is listener
    assert listener is not None
