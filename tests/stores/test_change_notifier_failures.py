"""Waiting for many keys on one line that fails, or in a forked child: nobody hangs, and nobody tries again at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest
from tests.stores.board import PATIENCE, Board, BoardSubscription, LookingLine, Sleeper, asleep, until

from onerefresh.locks import Lock, Reentered
from onerefresh.store import POLL
from onerefresh.stores.change_notifier import ChangeNotifier


class Killed(BaseException):
    """Under gevent a listener is a greenlet, and somebody may kill it: that is no `Exception`."""


@pytest.fixture
def died(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What ended threads."""
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda died_of: died.append(died_of.exc_type))
    return died


def test_where_no_line_opens_all_read_for_a_while_and_none_is_tried(board: Board) -> None:
    board.broken = True
    notifier = ChangeNotifier(board.connect)
    first = Sleeper(notifier)
    first.until_woken()
    assert notifier._unreachable_until > 0.0
    notifier._unreachable_until += PATIENCE  # however busy this machine is
    for _ in range(5):
        again = Sleeper(notifier)
        assert (again.wakeup.within, again.count) == (POLL, 0)
        again.end()
    assert board.tried == 1
    notifier._unreachable_until, board.broken = 0.0, False
    later = asleep(notifier)
    board.change("acme")
    later.until_woken()
    assert (board.tried, first.count) == (2, 1)


def test_a_line_that_breaks_wakes_all_once(board: Board) -> None:
    notifier = ChangeNotifier(board.connect)
    sleepers = [asleep(notifier, f"key {number % 3}") for number in range(9)]
    ended = asleep(notifier, "key 0")
    ended.end()
    board.break_down()
    for sleeper in sleepers:
        sleeper.until_woken()
    board.until(lambda: board.closed == 1)
    assert [sleeper.count for sleeper in (*sleepers, ended)] == [1] * 9 + [0]
    assert notifier._waits == {}
    notifier._unreachable_until, board.broken = 0.0, False
    again = asleep(notifier, "key 0")
    board.change("key 0")
    again.until_woken()
    assert board.opened == 2


def test_a_line_that_breaks_as_soon_as_it_listens_is_not_opened_again_at_once(board: Board) -> None:
    class Doomed(BoardSubscription):
        def receive(self, seconds: float) -> Collection[str]:
            raise OSError("test")

    board.kind = Doomed
    notifier = ChangeNotifier(board.connect)
    Sleeper(notifier).until_woken()
    board.until(lambda: board.closed == 1)
    until(lambda: notifier._unreachable_until > 0.0)
    notifier._unreachable_until += PATIENCE
    assert Sleeper(notifier).wakeup.within == POLL
    assert board.tried == 1


def test_a_listener_that_is_killed_leaves_nobody_behind(board: Board, died: list[object]) -> None:
    kill = threading.Event()

    class DoomedLine(BoardSubscription):
        def receive(self, seconds: float) -> Collection[str]:
            if kill.wait(seconds):
                raise Killed
            return ()

    board.kind = DoomedLine
    notifier = ChangeNotifier(board.connect)
    sleeper = asleep(notifier)
    kill.set()
    sleeper.until_woken()
    board.until(lambda: board.closed == 1)
    board.kind, notifier._unreachable_until = BoardSubscription, 0.0
    again = asleep(notifier)
    board.change("acme")
    again.until_woken()
    until(lambda: died == [Killed])


def test_a_listener_that_is_killed_while_it_closes_the_line_wakes_the_last(board: Board, died: list[object]) -> None:
    class DoomedLine(LookingLine):
        def close(self) -> None:
            super().close()
            raise Killed

    board.kind = DoomedLine
    notifier = ChangeNotifier(board.connect)
    sleeper, listener = asleep(notifier), notifier._listener
    assert listener is not None
    board.change("acme")
    sleeper.until_woken()
    assert listener.over.wait(PATIENCE)
    until(lambda: died == [Killed])


def test_where_no_thread_starts_they_read_for_themselves(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    notifier = ChangeNotifier(board.connect)
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", refuse)
        sleeper = Sleeper(notifier)
        assert sleeper.wakeup.within == POLL
        assert not notifier._waits["acme"].waiters
    asleep(notifier)
    assert (board.opened, sleeper.count) == (1, 0)


def test_an_interrupt_in_the_middle_leaves_nobody_behind(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    notifier = ChangeNotifier(board.connect)
    monkeypatch.setattr("onerefresh.stores.change_notifier.start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Sleeper(notifier)
    assert not notifier._waits["acme"].waiters


def test_within_a_lock_it_refuses_and_leaves_nobody_behind(board: Board) -> None:
    notifier = ChangeNotifier(board.connect)
    with Lock(order=1), pytest.raises(Reentered):
        Sleeper(notifier)
    assert (notifier._waits, board.tried) == ({}, 0)


# --- Forks ---


@contextmanager
def dies_in_time() -> Iterator[None]:
    """A child that hangs dies, and the test with it."""
    signal.alarm(30)
    try:
        yield
    finally:
        os._exit(1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_listens_on_a_line_of_its_own(board: Board) -> None:
    notifier = ChangeNotifier(board.connect)
    sleeper = asleep(notifier)
    child = os.fork()
    if child == 0:
        with dies_in_time():
            sleeper.end()  # the copy of the parent's subscription: of no use here, and no harm
            mine = Board()
            notifier._connect = mine.connect
            theirs = asleep(notifier)
            mine.change("acme")
            theirs.until_woken()
            os._exit(0 if (board.closed, sleeper.count, mine.opened) == (0, 0, 1) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (board.opened, board.closed, sleeper.count) == (1, 0, 0)
    board.change("acme")
    sleeper.until_woken()
