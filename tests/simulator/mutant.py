"""What a mutant is: the protocol with something else in the place of one of its rules."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from tests.simulator.server import Kind

__all__ = ["Mutant", "put", "put_each"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A protocol without one rule.

    `rule`: its number in the guide. `without`: what is done instead. `plan`, `kind` and `fixed` narrow the scenarios to
    those in which the rule matters. `shows`: what is to be seen in the guide's example; empty where it shows another.
    """

    rule: str
    without: str
    replace: Callable[[], contextlib.AbstractContextManager[Any]]
    plan: str | None = None
    kind: Kind | None = None
    fixed: tuple[tuple[str, object], ...] = ()
    shows: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.without}"


def put(place: object, name: str, piece: object) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    return lambda: mock.patch.object(place, name, piece)


def put_each(name: str, piece: object, *places: object) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """In the place of what one file defines and others use too."""

    @contextlib.contextmanager
    def replaced() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for place in places:
                stack.enter_context(mock.patch.object(place, name, piece))
            yield

    return replaced
