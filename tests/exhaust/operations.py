"""What a process asks of the world, and what the world answers: plain values that can be compared and kept.

Nothing here knows how a renewal asks. `renewals` translates, and is the only file that does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from tests.exhaust.shapes import Form

__all__ = ["Answer", "Answered", "Box", "Do", "Note", "Noted", "Operation", "Performer", "Position", "Spool"]


class Do(enum.Enum):
    """Operations that somebody else could notice: only these are choice points."""

    LOAD = "load"
    CAS = "cas"
    TAKE = "take the lock"
    DROP = "drop the lock"
    READ_SPOOL = "read the spool"
    WRITE_SPOOL = "write the spool"
    DROP_SPOOL = "drop the spool"
    SEND = "send"
    WATCH = "watch"
    SLEEP = "sleep"
    REST = "rest"  # until it is asked again at the end


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """A record, made once for each text: two are equal if they are the same object."""

    record: Any
    form: Form
    generation: int
    family: str
    state: str
    access: str | None
    refresh: str | None
    attempt: str | None
    by: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Spool:
    """A spooled token, made once like a `Box`."""

    entry: Any
    form: Form
    access: str
    attempt: str


class Operation(NamedTuple):
    do: Do
    version: str | None = None
    box: Box | None = None
    spool: Spool | None = None
    seconds: float = 0.0
    refresh: str = ""

    def __str__(self) -> str:
        if self.do is Do.CAS and self.box is not None:
            return f"cas {self.box.state} {self.box.generation}"
        if self.do is Do.SEND:
            return f"send {self.refresh}"
        if self.do in (Do.WATCH, Do.SLEEP):
            return f"{self.do.value} {self.seconds:g} s"
        return str(self.do.value)


class Answered(enum.Enum):
    LOADED = "loaded"
    WRITTEN = "written"
    CONFLICT = "conflict"
    UNKNOWN = "outcome unknown"
    UNAVAILABLE = "store unavailable"
    HELD = "held"
    SPOOLED = "spooled"
    TOKEN = "token"
    FAILED = "failed"
    NOTHING = "nothing"


Answer = tuple[Answered, Any, Any]
"""What happened, with up to two values that go with it."""


class Noted(enum.Enum):
    BEGAN = "began"
    NAMED = "named"
    TOLD = "told"
    HANDED = "handed"
    REFUSED = "refused"  # the callers were told an error
    ENDED = "ended"


class Note(NamedTuple):
    """What a process did on its way to its next operation, and nobody else could notice."""

    what: Noted
    text: str = ""
    detail: str = ""
    generation: int = 0


class Position(Protocol):
    """Where a process stands: at its next operation. Two of one form go on in the same way."""

    operation: Operation
    form: Form


class Performer(Protocol):
    """Runs renewals: from a position and an answer to the next position."""

    def beginning(self, process: int) -> Position:
        """Where a process begins."""

    def after(self, position: Any, answer: Answer, now: float) -> tuple[Position, tuple[Note, ...]]:
        """Where it stands once its operation was answered, `now` seconds after the beginning; what it did meanwhile.

        Always the same for the same position, answer and time.
        """
