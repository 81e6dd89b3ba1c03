"""Waiting for many keys on one line: one listener, only while somebody waits, and nobody hangs where it fails."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from tests.stores.board import LONG, PATIENCE, VERSION, Board, BoardSubscription, LookingLine, Looks

from onerefresh import threads
from onerefresh.stores import change_notifier
from onerefresh.stores.change_notifier import ChangeNotifier


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool


def listeners() -> list[threads.Job]:
    return [job for job in list(threads._jobs) if job.name == "onerefresh listener"]


def never() -> bool:
    return False


def test_a_change_ends_the_wait(board: Board, pool: ThreadPoolExecutor) -> None:
    waits, looks = ChangeNotifier(board.connect), Looks()
    waiting = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    looks.until(1)
    board.change("acme")
    waiting.result(PATIENCE)
    assert looks.count == 1


def test_what_changed_before_it_listens_ends_the_wait_at_once(board: Board) -> None:
    looks = Looks(changed=True)
    ChangeNotifier(board.connect).wait("acme", VERSION, LONG, looks)
    assert looks.count == 1
    assert board.asked == [frozenset({"acme"})], "it looks once it listens, not before"


def test_it_looks_only_once_it_listens(board: Board, pool: ThreadPoolExecutor) -> None:
    board.gate.clear()
    waits, looks = ChangeNotifier(board.connect), Looks(changed=True)
    waiting = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    board.until(lambda: board.opened == 1)
    assert looks.count == 0
    board.gate.set()
    waiting.result(PATIENCE)
    assert looks.count == 1


def test_a_change_of_another_key_wakes_nobody(board: Board, pool: ThreadPoolExecutor) -> None:
    waits, looks = ChangeNotifier(board.connect), Looks()
    acme, other = (pool.submit(waits.wait, key, VERSION, LONG, looks) for key in ("acme", "other"))
    looks.until(2)
    board.change("other")
    other.result(PATIENCE)
    assert not acme.done()
    board.change("acme")
    acme.result(PATIENCE)


def test_the_time_is_over_without_a_change(board: Board) -> None:
    ChangeNotifier(board.connect).wait("acme", VERSION, 0.01, never)
    ChangeNotifier(board.connect).wait("acme", VERSION, 0.0, never)


def test_a_line_that_takes_long_to_open_holds_nobody_up(board: Board, pool: ThreadPoolExecutor) -> None:
    opens = threading.Event()

    def connect() -> BoardSubscription:
        assert opens.wait(PATIENCE)
        return board.connect()

    looks = Looks()
    ChangeNotifier(connect).wait("acme", VERSION, 0.05, looks)
    assert looks.count == 0, "the time is over: looking would only take more of it, where the server hangs"
    opens.set()
    board.until(lambda: board.closed == 1)


def test_many_threads_and_keys_share_one_line(board: Board, pool: ThreadPoolExecutor) -> None:
    earlier = listeners()  # those of other tests linger for a moment
    waits, looks = ChangeNotifier(board.connect), Looks()
    waiting = [pool.submit(waits.wait, f"key {number % 10}", VERSION, LONG, looks) for number in range(40)]
    looks.until(40)
    assert (board.opened, len([each for each in listeners() if each not in earlier])) == (1, 1)
    assert board.asked[-1] == {f"key {number}" for number in range(10)}
    for number in range(10):
        board.change(f"key {number}")
    for one in waiting:
        one.result(PATIENCE)
    assert board.opened == 1


def test_who_comes_back_finds_the_line_still_listening(board: Board) -> None:
    waits = ChangeNotifier(board.connect)
    for _ in range(20):
        waits.wait("acme", VERSION, LONG, Looks(changed=True))
    assert board.opened == len(board.asked) == 1


def test_the_listener_ends_with_its_line_when_nobody_waits(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_notifier, "LINGER", 0.0)
    waits = ChangeNotifier(board.connect)
    waits.wait("acme", VERSION, LONG, Looks(changed=True))
    board.until(lambda: board.closed == 1)
    for listener in listeners():
        assert listener.over.wait(PATIENCE)
    waits.wait("acme", VERSION, LONG, Looks(changed=True))
    assert board.opened == 2


def test_a_key_for_which_nobody_waits_is_listened_to_no_longer(
    board: Board, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_notifier, "LINGER", 0.0)
    waits, looks = ChangeNotifier(board.connect), Looks()
    stays = pool.submit(waits.wait, "stays", VERSION, LONG, looks)
    looks.until(1)
    waits.wait("goes", VERSION, LONG, Looks(changed=True))
    board.until(lambda: board.asked[-2:] == [{"stays", "goes"}, {"stays"}])
    board.change("stays")
    stays.result(PATIENCE)


# --- A line that looks for those who wait, and whose connection they need next ---


def test_where_the_line_looks_nobody_else_does(board: Board, pool: ThreadPoolExecutor) -> None:
    board.kind = LookingLine
    waits, looks = ChangeNotifier(board.connect), Looks()
    waiting = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    board.until(lambda: board.asked == [{"acme"}])
    board.change("acme")
    waiting.result(PATIENCE)
    assert looks.count == 0


def test_what_the_line_sees_to_have_changed_ends_the_wait(board: Board) -> None:
    board.kind, board.version = LookingLine, "2"
    ChangeNotifier(board.connect).wait("acme", VERSION, LONG, Looks())
    assert (board.opened, board.closed) == (1, 1)


def test_who_joins_a_line_that_listens_already_looks_for_himself(board: Board, pool: ThreadPoolExecutor) -> None:
    board.kind = LookingLine
    waits, looks = ChangeNotifier(board.connect), Looks()
    first = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    while "acme" not in waits._waits or not waits._waits["acme"].listening:
        os.sched_yield()
    second = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    looks.until(1)
    board.change("acme")
    for one in (first, second):
        one.result(PATIENCE)
    assert looks.count == 1


def test_the_last_are_woken_when_the_line_is_closed(board: Board, pool: ThreadPoolExecutor) -> None:
    board.kind = LookingLine
    board.may_close.clear()
    waits = ChangeNotifier(board.connect)
    waiting = pool.submit(waits.wait, "acme", VERSION, LONG, never)
    board.until(lambda: board.asked == [{"acme"}])
    [waiter] = waits._waits["acme"].waiters
    board.change("acme")
    board.until(lambda: board.closing == 1)
    assert not waiter.woken.is_set
    later = pool.submit(waits.wait, "acme", VERSION, LONG, never)
    board.until(lambda: board.opened == 2)
    board.may_close.set()
    waiting.result(PATIENCE)
    board.until(lambda: len(board.asked) == 2)
    board.change("acme")
    later.result(PATIENCE)


def test_while_others_wait_for_something_else_the_line_stays(board: Board, pool: ThreadPoolExecutor) -> None:
    board.kind = LookingLine
    waits = ChangeNotifier(board.connect)
    acme, other = (pool.submit(waits.wait, key, VERSION, LONG, never) for key in ("acme", "other"))
    board.until(lambda: board.asked[-1:] == [{"acme", "other"}])
    board.change("other")
    other.result(PATIENCE)
    assert not acme.done()
    assert (board.opened, board.closed) == (1, 0)
    board.change("acme")
    acme.result(PATIENCE)
    assert (board.opened, board.closed) == (1, 1)


@pytest.mark.parametrize("kind", [BoardSubscription, LookingLine])
def test_who_comes_back_after_his_time_was_over_finds_the_line_still_listening(
    board: Board, monkeypatch: pytest.MonkeyPatch, kind: type[BoardSubscription]
) -> None:
    turns: list[float] = []

    class CountingLine(kind):  # type: ignore[misc, valid-type]  # one of two
        def receive(self, seconds: float) -> Collection[str]:
            with board.news:
                turns.append(seconds)
                board.news.notify_all()
            return super().receive(seconds)  # type: ignore[no-any-return]

    monkeypatch.setattr(change_notifier, "TURN", 0.01)
    monkeypatch.setattr(change_notifier, "LINGER", LONG)
    board.kind = CountingLine
    waits = ChangeNotifier(board.connect)
    for _ in range(3):
        waits.wait("acme", VERSION, 0.01, never)
        whole = len(turns) + 2  # one at least has begun and ended with nobody waiting
        board.until(lambda whole=whole: len(turns) >= whole)  # type: ignore[misc]  # bound at once
    assert (board.opened, board.closed) == (1, 0)
    board.break_down()
    board.until(lambda: board.closed == 1)


def test_a_line_whose_connection_nobody_needs_stays_when_all_are_woken(board: Board, pool: ThreadPoolExecutor) -> None:
    waits, looks = ChangeNotifier(board.connect), Looks()
    waiting = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    looks.until(1)
    listener = waits._listener
    board.change("acme")
    waiting.result(PATIENCE)
    assert waits._listener is listener
    assert listener is not None


# --- What goes wrong ---


def test_where_no_line_opens_they_look_for_themselves(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_notifier, "POLL", 0.01)
    board.broken = True
    looks = Looks()
    waits = ChangeNotifier(board.connect)
    for count in range(1, 4):
        waits.wait("acme", VERSION, LONG, looks)
        assert looks.count == count


def test_a_line_that_breaks_wakes_all_and_the_next_wait_opens_another(board: Board, pool: ThreadPoolExecutor) -> None:
    waits, looks = ChangeNotifier(board.connect), Looks()
    waiting = [pool.submit(waits.wait, f"key {number % 3}", VERSION, LONG, looks) for number in range(9)]
    looks.until(9)
    board.break_down()
    for one in waiting:
        one.result(PATIENCE)
    board.until(lambda: board.closed == 1)
    board.broken = False
    again = pool.submit(waits.wait, "key 0", VERSION, LONG, looks)
    looks.until(10)
    board.change("key 0")
    again.result(PATIENCE)
    assert board.opened == 2


def test_a_listener_that_is_killed_leaves_nobody_behind(
    board: Board, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under gevent a listener is a greenlet, and somebody may kill it: that is no `Exception`."""

    class Killed(BaseException):
        pass

    kill = threading.Event()
    died: list[object] = []

    class DoomedLine(BoardSubscription):
        def receive(self, seconds: float) -> Collection[str]:
            if kill.wait(seconds):
                raise Killed
            return ()

    monkeypatch.setattr(threading, "excepthook", lambda died_of: died.append(died_of.exc_type))
    board.kind = DoomedLine
    waits, looks = ChangeNotifier(board.connect), Looks()
    waiting = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    looks.until(1)
    kill.set()
    waiting.result(PATIENCE)
    board.until(lambda: board.closed == 1)
    board.kind = BoardSubscription
    again = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    looks.until(2)
    board.change("acme")
    again.result(PATIENCE)
    assert died == [Killed]


def test_where_no_thread_starts_they_look_for_themselves(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_notifier, "POLL", 0.01)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", refuse)
        looks = Looks()
        waits = ChangeNotifier(board.connect)
        waits.wait("acme", VERSION, LONG, looks)
        assert (looks.count, board.opened) == (1, 0)
    waits.wait("acme", VERSION, LONG, Looks(changed=True))
    assert board.opened == 1


def test_an_error_of_who_looks_leaves_no_waiter_behind(board: Board) -> None:
    def fail() -> bool:
        raise ValueError("test")

    waits = ChangeNotifier(board.connect)
    with pytest.raises(ValueError, match="test"):
        waits.wait("acme", VERSION, LONG, fail)
    board.until(lambda: board.closed == 1)


def test_a_listener_that_is_killed_while_it_closes_the_line_wakes_the_last(
    board: Board, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    class DoomedLine(LookingLine):
        def close(self) -> None:
            super().close()
            raise Killed

    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda died_of: died.append(died_of.exc_type))
    board.kind = DoomedLine
    waits = ChangeNotifier(board.connect)
    waiting = pool.submit(waits.wait, "acme", VERSION, LONG, never)
    board.until(lambda: board.asked == [{"acme"}])
    listener = waits._listener
    assert listener is not None
    board.change("acme")
    waiting.result(PATIENCE)
    assert listener.over.wait(PATIENCE)
    board.until(lambda: died == [Killed])


def test_a_line_that_cannot_be_closed_holds_nobody_up_for_longer_than_he_waits(
    board: Board, pool: ThreadPoolExecutor
) -> None:
    board.kind, board.version = LookingLine, "2"
    board.may_close.clear()
    ChangeNotifier(board.connect).wait("acme", VERSION, 0.05, never)
    assert board.closed == 0
    board.may_close.set()
    board.until(lambda: board.closed == 1)


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
def test_a_forked_child_listens_on_a_line_of_its_own(board: Board, pool: ThreadPoolExecutor) -> None:
    waits, looks = ChangeNotifier(board.connect), Looks()
    waiting = pool.submit(waits.wait, "acme", VERSION, LONG, looks)
    looks.until(1)
    child = os.fork()
    if child == 0:
        with dies_in_time():
            opened: list[BoardSubscription] = []

            def connect() -> BoardSubscription:
                opened.append(BoardSubscription(Board()))
                opened[0].board.lines.append(opened[0])
                return opened[0]

            waits._connect = connect
            theirs = threading.Thread(target=waits.wait, args=("acme", VERSION, LONG, never))
            theirs.start()
            while not (opened and "acme" in opened[0].keys):
                os.sched_yield()
            opened[0].board.change("acme")
            theirs.join()
            os._exit(0 if board.closed == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (board.opened, board.closed, waiting.done()) == (1, 0, False)
    board.change("acme")
    waiting.result(PATIENCE)
