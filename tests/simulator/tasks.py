"""What runs in a simulated process, and what callers do there beside renewing."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests.effects import Effect

from onerefresh import errors

if TYPE_CHECKING:
    from tests.simulator.process import Process

    from onerefresh.record import Record
    from onerefresh.token import Token

__all__ = ["Ask", "Ended", "Pass", "Task", "Until"]

Ended = Callable[[Any, errors.OnerefreshError | None], None]


class Pass(Effect[None]):
    """A caller does something else for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Until(Effect[bool]):
    """A caller waits until its flight is settled; whether it was within `seconds`."""

    def __init__(self, flight: Any, seconds: float) -> None:
        self.flight = flight
        self.seconds = seconds


class Ask(Effect[bool]):
    """A caller calls a path of the API with an access token; whether it was accepted."""

    def __init__(self, access: str, path: str = "") -> None:
        self.access = access
        self.path = path


class Task:
    """One coroutine of a process: a caller, a renewal, or a person's command."""

    def __init__(self, process: Process, name: str, coroutine: Coroutine[Effect[Any], Any, Any], ended: Ended) -> None:
        self.process = process
        self.name = name
        self.coroutine = coroutine
        self.ended = ended
        self.is_caller = False
        self.looks: random.Random | None = None  # a look in the background: the dice of its own that it throws
        self.over = False
        self.serial = 0  # one more with each effect: what was meant for an earlier one comes too late
        self.began = process.world.timeline.now
        self.publish: Callable[[object, Token | None], None] | None = None
        self.overdue: Callable[[float], None] | None = None
        self.has_sent: Callable[[Record], None] | None = None  # told of the claim under which it sends
        self.attempt: str | None = None
        self.leased: Record | None = None  # its claim
        self.named_at = self.named_here = 0.0  # `named_here`: the same, on the monotonic clock of its machine
        self.sending = False  # past its gate, and not answered yet
        self.sent_until = 0.0  # when it was so for the last time: meanwhile it waited for nobody else
        self.spending = False  # the server has answered, and the answer may be in no safe place yet
        self.answer: str | None = None
        self.spent: Token | None = None  # whose refresh token it sent last
        self.spool_failed = False
        self.crashed = False
        self.ended_at = 0.0
        self.has_answer = False
        self.answered_at = 0.0
        self.refused_at = 0.0  # when the server refused what it has sent last
        self.disturbed = False  # a fault has kept it from running at some time
        self.holds_the_exit = False
        self.hangs = False  # its refresher never returns
        self.save_failed = False
        self.waits = False  # in a sleep or watch that the end of its interpreter cuts short

    def __repr__(self) -> str:
        return f"{self.process.name} {self.name}"
