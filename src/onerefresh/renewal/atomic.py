"""A value that threads change at the same time, without a lock: no change is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Atomic"]

T = TypeVar("T")
NEXT = ""


class _Step(Generic[T]):
    """One state in the sequence of all states. `following` holds the next one, once there is one."""

    __slots__ = ("following", "state")

    def __init__(self, state: T) -> None:
        self.state = state
        self.following: dict[str, _Step[T]] = {}


class Atomic(Generic[T]):
    """An immutable state; each change replaces it by another one.

    If two threads change one state, `dict.setdefault`, one operation of the interpreter, decides whose change comes
    first. The other change is then made again, from the new state. Until the first change there is only a dict, since
    there may be thousands of these objects.
    """

    __slots__ = ("_initial", "_lately")

    def __init__(self, initial: T) -> None:
        self._initial = initial
        self._lately: dict[str, _Step[T]] = {}  # one of the last steps: others may follow it

    @property
    def state(self) -> T:
        """The present state."""
        step = self._last()
        return step.state if step is not None else self._initial

    def change(self, made_of: Callable[[T], T]) -> tuple[T, T]:
        """Replace the state by what `made_of` makes of it; return the state before, and the new one.

        `made_of` may be called several times. It returns the same object where there is nothing to change.
        """
        while True:
            last = self._last()
            before = last.state if last is not None else self._initial
            step = _Step(made_of(before))
            if step.state is before:
                return before, before
            place = last.following if last is not None else self._lately
            if place.setdefault(NEXT, step) is step:
                self._lately[NEXT] = step
                return before, step.state

    def _last(self) -> _Step[T] | None:
        step = self._lately.get(NEXT)
        while step is not None and step.following:
            step = step.following[NEXT]
        return step
