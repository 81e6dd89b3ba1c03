"""What threads wait for: something that is set once and for all, and what other threads change.

A waiting thread holds no lock that an interrupt could leave taken: it waits at a gate of its own, a lock that nobody
else knows but the thread that opens it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from onerefresh.interpreter import finalizing
from onerefresh.locks import refuse_inside
from onerefresh.real_time import monotonic

__all__ = ["Changes", "Latch"]


SIGNALS_EVERY = 1.0
"""Seconds of one blocking call on the main thread: a signal that comes right before such a call is noticed after it."""


class Latch:
    """Set once and for all. Any number of threads wait for it, each at a gate of its own, without a lock."""

    __slots__ = ("_gates", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._gates: dict[Any, None] = {}

    def set(self) -> None:
        """Let all threads go on that wait, or come to wait.

        Call it again where an interrupt may have cut it short.
        """
        self.is_set = True
        _open(self._gates)

    def wait(self, seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Wait until it is set, for at most so many seconds; whether it is set. Raises `Reentered` under a lock."""
        if seconds <= 0.0:
            return self.is_set
        if not self.is_set:
            refuse_inside()
        gate, deadline = _closed_gate(), monotonic() + seconds
        slice_ = SIGNALS_EVERY if threading.get_ident() == threading.main_thread().ident else threading.TIMEOUT_MAX
        try:
            self._gates[gate] = None
            while True:
                left = min(deadline - monotonic(), slice_)
                if self.is_set or finalizing():  # checked after the gate is there; at the end nothing sets it
                    return self.is_set
                if left <= 0.0 or gate.acquire(timeout=left):
                    return self.is_set
        finally:
            self._gates.pop(gate, None)


class Changes:
    """Lets any number of threads wait for what others change, each at a gate of its own."""

    __slots__ = ("_gates",)

    def __init__(self) -> None:
        self._gates: dict[Any, None] = {}

    def notify(self) -> None:
        """Wake all threads that wait, so that they look again."""
        _open(self._gates)

    def wait_for(self, holds: Callable[[], bool], seconds: float = threading.TIMEOUT_MAX) -> bool:
        """Wait until `holds()` is true, for at most so many seconds; whether it is. Raises `Reentered` under a lock.

        `holds` is not called again once it was true.
        """
        refuse_inside()
        deadline = monotonic() + seconds
        while True:
            gate = _closed_gate()
            try:
                self._gates[gate] = None
                if holds():  # checked after the gate is there: a later change opens the gate
                    return True
                left = min(deadline - monotonic(), threading.TIMEOUT_MAX)
                if left <= 0.0 or finalizing() or not gate.acquire(timeout=left):
                    return holds()
            finally:
                self._gates.pop(gate, None)


def _closed_gate() -> Any:
    gate = threading.Lock()
    gate.acquire()
    return gate


def _open(gates: dict[Any, None]) -> None:
    for gate in list(gates):
        try:
            gate.release()
        except RuntimeError:  # the gate is open already, and its thread has not gone yet
            continue
