"""What a server would be to those who wait: a board on which changes are put up, and its lines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

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
        self.opened = self.closing = self.closed = 0
        self.broken = False
        self.kind: type[BoardSubscription] = BoardSubscription
        self.version = VERSION
        self.gate, self.may_close = threading.Event(), threading.Event()
        self.gate.set()
        self.may_close.set()

    def connect(self) -> BoardSubscription:
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


class Looks:
    """Counts how often somebody looks whether it has changed already."""

    def __init__(self, *, changed: bool = False) -> None:
        self._changed = changed
        self._news = threading.Condition()
        self.count = 0

    def __call__(self) -> bool:
        with self._news:
            self.count += 1
            self._news.notify_all()
        return self._changed

    def until(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.count >= count, PATIENCE)
