"""What a server would be to those who wait: a board on which changes are put up, and its lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping

from onerefresh.locks import inside
from onerefresh.stores.change_notifier import ChangeNotifier

PATIENCE = 30.0
LONG = 60.0
"""Seconds that a wait may last which is to be ended by something else."""
VERSION = "1"
"""Which those who wait know."""


class Board:
    """What a server would be: changes are put up, and each line that listens hears them."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.lines: list[BoardSubscription] = []
        self.asked: list[frozenset[str]] = []
        self.tried = self.opened = self.closing = self.closed = 0
        self.broken = False
        self.kind: type[BoardSubscription] = BoardSubscription
        self.version = VERSION
        self.gate, self.may_close = threading.Event(), threading.Event()
        self.gate.set()
        self.may_close.set()

    def connect(self) -> BoardSubscription:
        self.tried += 1
        if self.broken:
            raise OSError("test: there is no line")
        line = self.kind(self)
        with self.news:
            self.opened += 1
            self.lines.append(line)
            self.news.notify_all()
        return line

    def change(self, key: str) -> None:
        with self.news:
            for line in self.lines:
                if key in line.keys:
                    line.changed.add(key)
            self.news.notify_all()

    def break_down(self) -> None:
        with self.news:
            self.broken = True
            self.news.notify_all()

    def until(self, happened: Callable[[], bool]) -> None:
        with self.news:
            assert self.news.wait_for(happened, PATIENCE)


class BoardSubscription:
    reusable = False

    def __init__(self, board: Board) -> None:
        self.board = board
        self.keys: frozenset[str] = frozenset()
        self.changed: set[str] = set()

    def listen(self, keys: frozenset[str]) -> Mapping[str, str]:
        assert self.board.gate.wait(PATIENCE)
        with self.board.news:
            self.board.asked.append(keys)
            self.keys = keys
            self.board.news.notify_all()
        return {}

    def receive(self, seconds: float) -> Collection[str]:
        with self.board.news:
            self.board.news.wait_for(lambda: self.changed or self.board.broken, seconds)
            if self.board.broken:
                raise OSError("test: the line is cut")
            changed, self.changed = self.changed, set()
            return changed

    def close(self) -> None:
        with self.board.news:
            self.board.closed += 1
            self.board.lines.remove(self)
            self.board.news.notify_all()


class LookingLine(BoardSubscription):
    """It sees the version that the board shows, and is not closed before `may_close`, which `closing` waits for."""

    reusable = True

    def listen(self, keys: frozenset[str]) -> Mapping[str, str]:
        super().listen(keys)
        return dict.fromkeys(keys, self.board.version)

    def close(self) -> None:
        with self.board.news:
            self.board.closing += 1
            self.board.news.notify_all()
        assert self.board.may_close.wait(PATIENCE)
        super().close()


class Sleeper:
    """Somebody who has just read the record, and subscribes. `count`: how often it was woken."""

    def __init__(
        self, notifier: ChangeNotifier, key: str = "acme", version: str = VERSION, since: float | None = None
    ) -> None:
        self.count = 0
        self._news = threading.Condition()
        self.wakeup = notifier.subscribe(key, version, time.monotonic() if since is None else since, self._wake)

    def _wake(self) -> None:
        assert not inside(), "it is woken under a lock"
        with self._news:
            self.count += 1
            self._news.notify_all()

    def until_woken(self) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.count > 0, PATIENCE)

    def end(self) -> None:
        self.wakeup.end()


def asleep(notifier: ChangeNotifier, key: str = "acme") -> Sleeper:
    """One that waits at a subscription which listens to its key already, and that is not to be woken yet."""
    while True:
        was_listening, sleeper = is_listening(notifier, key), Sleeper(notifier, key)
        if sleeper.wakeup.within > 0.0:
            if was_listening:
                return sleeper
            until(lambda: is_listening(notifier, key))
            if any(line.reusable for line in notifier._connect.__self__.lines):  # type: ignore[attr-defined]  # a board's
                return sleeper
            sleeper.until_woken()  # a line that does not look cannot know whether it has come too late
        sleeper.end()


def is_listening(notifier: ChangeNotifier, key: str = "acme") -> bool:
    waits = notifier._waits.get(key)
    return waits is not None and waits.listening


def until(holds: Callable[[], object]) -> None:
    """Look until it holds: not everything is told."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)
