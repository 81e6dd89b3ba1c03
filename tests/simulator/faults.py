"""What goes wrong, and where: each fault strikes one effect of a renewal, at its n-th occurrence in the run."""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests import effects
from tests.effects import Effect

from onerefresh.record import State

__all__ = [
    "LOSSES", "MOMENTARY", "OF_A_STORE", "PLANS", "SAVING_PLANS", "UNHEARD", "Fault", "Faults", "Happening", "Point",
    "What", "draw_fault", "point_of",
]  # fmt: skip


class Point(enum.StrEnum):
    """Where in a renewal a fault can strike."""

    LOAD = "load"
    CLAIM = "claim"
    SEND = "send"
    COMMIT = "commit"
    RELEASE = "release"  # also the mark of death, and the notes beside a renewal
    WATCH = "watch"
    SLEEP = "sleep"
    TAKE = "take"
    DROP = "drop"
    PREPARE = "prepare"
    READ_SPOOL = "read spool"
    WRITE_SPOOL = "write spool"
    DROP_SPOOL = "drop spool"
    NOTE = "note"  # of losses
    SAVE = "save"  # by the host


class What(enum.StrEnum):
    """What goes wrong there."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    EXIT = "the interpreter ends"
    PAUSE_BEFORE = "pause before"
    PAUSE_AFTER = "pause after"
    ASLEEP_BEFORE = "machine asleep before"  # its own clock stands still, all others go on
    ASLEEP_AFTER = "machine asleep after"
    LOST_REQUEST = "lost request"
    LOST_ANSWER = "lost answer"
    LATE_REQUEST = "late request"  # it arrives after its sender has given it up
    SLOW_ANSWER = "slow answer"
    HANGS = "no answer ever"  # and no time-out either
    ERROR_BEFORE = "server error, not rotated"
    ERROR_AFTER = "server error, rotated"
    UNAVAILABLE = "unavailable"
    THROTTLED = "asked to wait"  # 429 with Retry-After
    REJECTED = "client rejected"
    GARBAGE = "unreadable answer"  # after it has rotated
    UNKNOWN_APPLIED = "outcome unknown, applied"
    UNKNOWN_LOST = "outcome unknown, not applied"
    UNKNOWN_LATER = "outcome unknown, applied later"
    STORE_DOWN = "store down"
    ROLLBACK = "store goes back"
    NO_WAKE = "no wake"
    EARLY_WAKE = "early wake"
    SPOOL_FAILS = "spool fails"
    SAVE_FAILS = "the host cannot save"
    SAVE_UNHEARD = "the host saves, and says that it failed"
    SLOW_SAVE = "the host saves slowly"
    # At a moment, not at an effect:
    OUTAGE = "token endpoint down"
    REVOKED = "access tokens revoked"
    BAD_API = "API refuses everything"
    BAD_TARGET = "one target of the API refuses everything"
    LOGIN = "login"
    LOGOUT = "logout"
    SESSION_ENDED = "session ended at the server"
    REBOOT = "reboot"
    WIPED = "store wiped, and a login"
    VANISHED = "store loses the record"
    CLOCK_SET = "wall clock set"  # `seconds`: how far forwards
    FAILOVER = "store fails over to a server that lags behind"  # `seconds`: how far
    EMPTY_FAILOVER = "store fails over to an empty server"
    RESTORED = "store restored from a backup"  # `seconds`: how old it is
    DOUBTFUL = "answered without a proof"  # the token request, at an effect or for a while
    STORE_CLOCK_SET = "store's clock set"  # `seconds`: how far forwards
    FORK = "a process forks"  # and goes on; `seconds`: after which it dies
    SAME_LOGIN = "two logins with one token"  # in two processes, `seconds` apart
    # At an effect, and never drawn for an ordinary fault: see `ideas`.
    USELESS = "an access token that no header can carry"  # beside a refresh token; or for a while
    STRANGER = "an answer that belongs to another account"  # after it has rotated
    DOWN_THEN_EMPTY = "store down, and empty when it is back"
    NOTE_FAILS = "the loss is not noted"


@dataclass(frozen=True, slots=True)
class Fault:
    """`what` goes wrong at the `nth` (1, 2, …) effect at `point` of the whole run, for `seconds` where that matters."""

    what: What
    point: Point
    nth: int = 1
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f", {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.what} at {self.point} no. {self.nth}{lasting}"


@dataclass(frozen=True, slots=True)
class Happening:
    """`what` happens `at` a moment (seconds), for `seconds` where that matters."""

    what: What
    at: float
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        if self.what in (What.CLOCK_SET, What.STORE_CLOCK_SET):
            lasting = f" by {self.seconds:+.0f} s"
        return f"{self.what} at {self.at:.1f} s{lasting}"


_POINTS: dict[type, Point] = {
    effects.Load: Point.LOAD,
    effects.Send: Point.SEND,
    effects.Watch: Point.WATCH,
    effects.Sleep: Point.SLEEP,
    effects.Enter: Point.TAKE,
    effects.Leave: Point.DROP,
    effects.Prepare: Point.PREPARE,
    effects.ReadSpool: Point.READ_SPOOL,
    effects.WriteSpool: Point.WRITE_SPOOL,
    effects.DropSpool: Point.DROP_SPOOL,
    effects.Save: Point.SAVE,
    effects.ReportLoss: Point.NOTE,
}


def point_of(effect: Effect[object], *, holds_answer: bool) -> Point | None:
    """The point that an effect is, where faults strike at all. `holds_answer`: a new token is in its hands."""
    if isinstance(effect, effects.Cas):
        if effect.record.state is State.LEASED:
            return Point.CLAIM
        return Point.COMMIT if holds_answer else Point.RELEASE
    return _POINTS.get(type(effect))


_EVERYWHERE = (
    What.CRASH_BEFORE, What.CRASH_AFTER, What.EXIT, What.PAUSE_BEFORE, What.PAUSE_AFTER, What.ASLEEP_BEFORE,
    What.ASLEEP_AFTER,
)  # fmt: skip
UNHEARD = (What.UNKNOWN_APPLIED, What.UNKNOWN_LOST, What.UNKNOWN_LATER)
_CAS = (What.UNKNOWN_APPLIED, What.UNKNOWN_LOST, What.UNKNOWN_LATER, What.STORE_DOWN)
_ANSWERS = (
    What.LOST_REQUEST, What.LOST_ANSWER, What.LATE_REQUEST, What.SLOW_ANSWER, What.ERROR_BEFORE, What.ERROR_AFTER,
    What.UNAVAILABLE, What.HANGS, What.THROTTLED, What.REJECTED, What.GARBAGE,
)  # fmt: skip
_OWN: dict[Point, tuple[What, ...]] = {
    Point.LOAD: (What.STORE_DOWN, What.ROLLBACK),
    Point.CLAIM: (*_CAS, What.ROLLBACK),
    Point.SEND: (*_ANSWERS, *_ANSWERS),
    Point.COMMIT: (*_CAS, *_CAS, What.ROLLBACK),
    Point.RELEASE: _CAS,
    Point.WATCH: (What.NO_WAKE, What.EARLY_WAKE),
    Point.WRITE_SPOOL: (What.SPOOL_FAILS,),
    Point.SAVE: (What.SAVE_FAILS, What.SAVE_FAILS, What.SAVE_UNHEARD, What.SLOW_SAVE),
}
# Where the credential is in danger is struck more often than where nothing can be lost.
_WEIGHTS: dict[Point, int] = {
    Point.LOAD: 2, Point.CLAIM: 4, Point.SEND: 8, Point.COMMIT: 8, Point.RELEASE: 1, Point.WATCH: 2, Point.SLEEP: 1,
    Point.TAKE: 1, Point.DROP: 1, Point.PREPARE: 1, Point.READ_SPOOL: 1,
}  # fmt: skip
_LENGTHS = (0.3, 2.0, 8.0, 15.0, 25.0, 35.0, 60.0, 110.0, 290.0, 400.0)

PLANS: dict[str, tuple[tuple[What, Point], ...]] = {
    "store down at the commit, then a crash": ((What.STORE_DOWN, Point.COMMIT), (What.CRASH_BEFORE, Point.SLEEP)),
    "store down at the commit, no spool": ((What.STORE_DOWN, Point.COMMIT), (What.SPOOL_FAILS, Point.WRITE_SPOOL)),
    "store down at the commit, no spool, and the end": (
        (What.STORE_DOWN, Point.COMMIT),
        (What.SPOOL_FAILS, Point.WRITE_SPOOL),
        (What.EXIT, Point.SLEEP),
    ),
    "store down at the commit": ((What.STORE_DOWN, Point.COMMIT),),
    "paused with the answer in hand": ((What.PAUSE_BEFORE, Point.COMMIT),),
    "paused between claim and gate": ((What.PAUSE_AFTER, Point.CLAIM),),
    "paused right before sending": ((What.PAUSE_BEFORE, Point.SEND),),
    "asleep between claim and gate": ((What.ASLEEP_AFTER, Point.CLAIM),),
    "a refresher that never returns": ((What.HANGS, Point.SEND),),
    "an old record in hand": ((What.PAUSE_AFTER, Point.LOAD), (What.STORE_DOWN, Point.COMMIT)),
    "two holders are stopped": ((What.PAUSE_BEFORE, Point.COMMIT), (What.PAUSE_AFTER, Point.CLAIM)),
    "crash with the answer in hand": ((What.CRASH_BEFORE, Point.COMMIT),),
    "crash right before sending": ((What.CRASH_BEFORE, Point.SEND),),
    "crash while the answer is under way": ((What.CRASH_AFTER, Point.SEND),),
    "slow answer, then a pause": ((What.SLOW_ANSWER, Point.SEND), (What.PAUSE_BEFORE, Point.COMMIT)),
    "lost answer": ((What.LOST_ANSWER, Point.SEND),),
    "lost answers": ((What.LOST_ANSWER, Point.SEND), (What.LOST_ANSWER, Point.SEND), (What.LOST_ANSWER, Point.SEND)),
    "store goes back after the commit": ((What.ROLLBACK, Point.COMMIT),),
}
"""Faults that are dangerous together, or worth aiming at."""
SAVING_PLANS: dict[str, tuple[tuple[What, Point], ...]] = {
    "the host cannot save": ((What.SAVE_FAILS, Point.SAVE),),
    "the host cannot save, then a crash": ((What.SAVE_FAILS, Point.SAVE), (What.CRASH_BEFORE, Point.SLEEP)),
    "the host cannot save, and the end": ((What.SAVE_FAILS, Point.SAVE), (What.EXIT, Point.SLEEP)),
    "crash before the host saves": ((What.CRASH_BEFORE, Point.SAVE),),
    "crash after the host has saved": ((What.CRASH_AFTER, Point.SAVE),),
}
"""The same where the host saves the token itself."""
LOSSES = frozenset({What.FAILOVER, What.EMPTY_FAILOVER, What.RESTORED, What.DOWN_THEN_EMPTY})
"""What makes a store lose, at a moment of its own, what it had acknowledged."""
MOMENTARY = frozenset({What.FAILOVER, What.RESTORED, What.STORE_CLOCK_SET})
"""What is over in a moment, however many seconds it is about."""
OF_A_STORE = frozenset({*_CAS, What.ROLLBACK, What.SPOOL_FAILS, What.WIPED, What.VANISHED, What.NOTE_FAILS, *LOSSES})
"""What does not befall the memory of one process."""
_LASTING = frozenset(
    {
        What.PAUSE_BEFORE, What.PAUSE_AFTER, What.ASLEEP_BEFORE, What.ASLEEP_AFTER, What.STORE_DOWN, What.SLOW_ANSWER,
        What.SPOOL_FAILS, What.NOTE_FAILS, What.SAVE_FAILS, What.THROTTLED, What.SLOW_SAVE, What.DOWN_THEN_EMPTY,
    }
)  # fmt: skip


def draw_fault(rng: random.Random, what: What | None = None, point: Point | None = None) -> Fault:
    """A fault at random, or of one kind at one point; early occurrences are likelier."""
    if point is None:
        point = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    if what is None:
        own = _OWN.get(point, ())
        what = rng.choice(own if own and rng.random() < 0.5 else _EVERYWHERE)
    nth = 1
    while nth < 12 and rng.random() < 0.45:
        nth += 1
    seconds = 0.0
    if what is What.ROLLBACK:
        seconds = rng.choice((0.2, 1.0, 3.0))
    elif what in _LASTING:
        seconds = rng.choice(_LENGTHS) * rng.uniform(0.8, 1.2)
    return Fault(what, point, nth, seconds)


class Faults:
    """The faults of one run that have yet to strike."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._left = [(fault.nth, fault) for fault in faults]

    def strike(self, point: Point) -> Fault | None:
        """The fault that strikes this effect, if any."""
        if not self._left:
            return None
        self._left = [(nth - (fault.point is point), fault) for nth, fault in self._left]
        for entry in self._left:
            if entry[0] <= 0 and entry[1].point is point:
                self._left.remove(entry)
                return entry[1]
        return None
