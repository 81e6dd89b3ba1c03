"""One round: everybody's token is refused, one process refreshes, and something happens to it; then all is counted."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos.crew import Crew, Member
from tests.chaos.place import Place, Save, SQLitePlace
from tests.chaos.worker import ANSWERED, CLAIMED, UNREACHED

__all__ = [
    "CALLS",
    "FAULTS",
    "LEFT_ALONE",
    "ROTATED",
    "SOMEWHERE",
    "Count",
    "Fault",
    "Round",
    "begin",
    "check_healed",
    "explained",
    "failures",
    "faults_of",
    "loss",
    "run",
    "somewhere_in_the_save",
    "standing",
]

ROTATED: Final = "token_sent"
"""The server has rotated and not answered: a gate of the server, not of the process."""
SOMEWHERE = "killed somewhere in the save"
CALLS = 3
LINES, COMMIT = 450, 0.02
"""So many lines of the library are run between the answer and the end of the renewal; seconds that a commit takes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the holder, and at which point.

    `stop`: "short" (it goes on while the others wait for it) or "long" (once the others have gone on without it);
    None: it is killed. `doom`: how it kills itself while it saves.
    """

    name: str
    point: str | None = None
    stop: str | None = None
    doom: tuple[object, ...] | None = None

    def requests(self, *, saved: bool) -> int:
        """How many token requests such a round costs where the holder could save, or could not."""
        if self.point in (None, CLAIMED) or self.stop == "short" or saved:
            return 1
        return 2


LEFT_ALONE = Fault("left alone")
FAULTS = [
    LEFT_ALONE,
    Fault("killed before sending", CLAIMED),
    Fault("killed after the server rotated", ROTATED),
    Fault("killed with the answer in hand", ANSWERED),
    *(
        Fault("killed at a statement of the save", ANSWERED, doom=("statement", when, statement))
        for when, statement in [
            ("before", "PRAGMA journal_mode"),
            ("before", "BEGIN"),
            ("before", "INSERT"),
            ("after", "INSERT"),
            ("before", "COMMIT"),
            ("after", "COMMIT"),
        ]
    ),
    Fault("stopped shortly before sending", CLAIMED, "short"),
    Fault("stopped shortly after the server rotated", ROTATED, "short"),
    Fault("stopped shortly with the answer in hand", ANSWERED, "short"),
    Fault("stopped for long before sending", CLAIMED, "long"),
    Fault("stopped for long after the server rotated", ROTATED, "long"),
    Fault("stopped for long with the answer in hand", ANSWERED, "long"),
]


def faults_of(place: Place) -> list[Fault]:
    """What can happen to a holder there: the statements are SQLite's."""
    return [fault for fault in FAULTS if fault.doom is None or isinstance(place, SQLitePlace)]


def somewhere_in_the_save(chance: random.Random, place: Place) -> Fault:
    """It dies between any two lines of the library, or at any moment: between any two writes of SQLite's commit, or
    while its write is on the way to a server and back."""
    doom: tuple[object, ...] = ("line", chance.randint(1, LINES))
    if chance.random() < 0.3:
        doom = ("commit" if isinstance(place, SQLitePlace) else "moment", chance.uniform(0.0, COMMIT))
    return Fault(SOMEWHERE, ANSWERED, doom=doom)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to. `longest`: seconds that a call took in a process that was not touched.

    `told_unknown`: calls of a process that stood still for longer than its time to live. `told_unavailable`: calls that
    the store, or all beyond a cut cable, did not answer. `reused`: how often the server got a spent refresh token.
    """

    name: str
    was_killed: bool
    was_stopped: bool
    was_saved: bool
    answered: int
    told_to_log_in: int
    told_unknown: int
    told_unavailable: int
    requests: int
    generations: int
    reused: int
    lost: str | None
    longest: float


class Count:
    """Counts what happens from now on."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._writes, self._counters = len(crew.place.saves()), crew.server.counters

    def saves(self) -> list[Save]:
        return self._crew.place.saves()[self._writes :]

    def requests_now(self) -> int:
        return self._crew.server.counters.token_requests - self._counters.token_requests

    def round(self, name: str, holder: Member | None, *, was_stopped: bool, lost: str | None) -> Round:
        """What it came to."""
        members, after, before = self._crew.members, self._crew.server.counters, self._counters
        others = [member for member in members if member is not holder]
        return Round(
            name=name,
            was_killed=holder is not None and holder.has_ended,
            was_stopped=was_stopped,
            was_saved=_was_saved(holder, self.saves()),
            answered=sum(status == 200 for member in members for status, _, _ in member.called),
            told_to_log_in=failures(members, "LoginRequired"),
            told_unknown=failures(members, "RefreshOutcomeUnknown"),
            told_unavailable=failures(members, "StoreUnavailable") + failures(members, UNREACHED),
            requests=after.token_requests - before.token_requests,
            generations=after.refreshes - before.refreshes,
            reused=after.reuse_detected + after.reissues - before.reuse_detected - before.reissues,
            lost=lost,
            longest=max(seconds for member in others for _, _, seconds in member.called or [(0, 0, 0.0)]),
        )


def begin(crew: Crew) -> Count:
    """Everybody is there and has nothing to do, and the token is about to be refused."""
    crew.complete()
    crew.settle()
    for member in crew.members:
        member.begin()
    count = Count(crew)
    crew.server.revoke_access()
    return count


def run(crew: Crew, fault: Fault) -> Round:
    """Let it happen, and check all that must hold. Raises AssertionError, which says what did not."""
    count = begin(crew)
    holder = _struck(crew, fault)
    assert crew.place.is_sound(), "the record is damaged"
    crew.until(lambda: all(member.is_done for member in crew.members if member is not holder), "answered")
    if holder is not None and fault.stop == "long":
        holder.signal(signal.SIGCONT)
    crew.until(lambda: all(member.is_done for member in crew.members), "all answered")
    crew.settle()
    others = [member for member in crew.members if member is not holder]
    found = count.round(fault.name, holder, was_stopped=fault.stop is not None, lost=loss(others))
    with explained(crew, fault, found, count):
        _check(crew, fault, found, others, count.saves())
    if found.lost is not None:
        crew.log_in()
    if found.lost is not None or fault.stop == "long":
        check_healed(crew)
    return found


@contextlib.contextmanager
def explained(crew: Crew, fault: object, found: Round, count: Count) -> Iterator[None]:
    """Whatever does not hold is told with all that happened."""
    try:
        yield
    except AssertionError as error:
        told = "\n".join(map(str, crew.members))
        raise AssertionError(f"{fault}: {error}\n{found}\n{count.saves()}\n{told}") from error


def _struck(crew: Crew, fault: Fault) -> Member | None:
    """Let everybody call, and the fault strike: the process that it struck."""
    if fault.point is None:
        crew.call(CALLS)
        return None
    holder = standing(crew, fault.point)
    others = [member for member in crew.members if member is not holder]
    if fault.doom is not None:
        holder.tell("go", *fault.doom)
        surely = fault.doom[0] != "line"  # there may be fewer lines than that
        crew.until(lambda: holder.has_ended or (holder.is_done and not surely), "dead")
    elif fault.stop is None:
        holder.signal(signal.SIGKILL)
        crew.until(lambda: holder.has_ended, "dead")
    else:
        holder.signal(signal.SIGSTOP)
        holder.tell("go")
    if fault.point == ROTATED:
        crew.server.release(ROTATED)
    if fault.stop == "short":
        crew.until(lambda: any("waiting" in member.kinds() for member in others), "waiting")
        holder.signal(signal.SIGCONT)
    return holder


def standing(crew: Crew, point: str) -> Member:
    """Let everybody call: the one that refreshes, once it stands still at this point."""
    if point == ROTATED:
        crew.server.hold(ROTATED)
    else:
        crew.arm(crew.members, point)
    crew.call(CALLS)
    holder = _holder(crew, point)
    if point != ROTATED:
        crew.arm([member for member in crew.members if member is not holder], None)
    return holder


def _holder(crew: Crew, point: str) -> Member:
    """The one that has come to the point."""
    if point == ROTATED:
        crew.server.wait_for(ROTATED)
        crew.until(lambda: any("sent" in member.kinds() for member in crew.members), "sent")
        [holder] = [member for member in crew.members if "sent" in member.kinds()]
    else:
        crew.until(lambda: any(member.at for member in crew.members), f"at {point}")
        [holder] = [member for member in crew.members if member.at]
    return holder


def _was_saved(holder: Member | None, new: list[Save]) -> bool:
    """Whether a token of the holder's is in the file, or was there."""
    attempts = {attempt for _, attempt, _ in holder.events if attempt} if holder else set()
    return any(attempt in attempts for _, _, attempt in new)


def failures(members: list[Member], kind: str) -> int:
    return sum(kind == failure for member in members for failure, _ in member.failed)


def loss(others: list[Member]) -> str | None:
    """What the untouched processes were told instead of a token; None where the session lives."""
    said = {(kind, text) for member in others for kind, text in member.failed}
    if not said:
        return None
    assert len(said) == 1, "not everybody was told the same"
    [(kind, text)] = said
    assert kind == "LoginRequired", kind
    return text


def _check(crew: Crew, fault: Fault, found: Round, others: list[Member], new: list[Save]) -> None:
    assert crew.spooled() == [], "a token waits in a file although the store was never away"
    generations = [generation for generation, _, _ in new]
    assert generations == sorted(generations), "the store went back"
    assert found.generations == 1, "the server rotated more than once"
    # A stopped holder that comes back may save after all: that is no reason for fewer requests.
    saved = found.was_saved and fault.stop != "long"
    # It even revives the session, as far as it knows, and is refused once more where the server has ended it.
    revived = fault.stop == "long" and not crew.has_grace and found.requests == 3
    assert revived or found.requests == fault.requests(saved=saved), "another number of token requests"
    must_be_lost = not crew.has_grace and found.requests >= 2
    assert (found.lost is not None) == must_be_lost, "lost, or not lost, against the rule"
    ends = sum(member.kinds().count("dead") for member in crew.members)
    if found.lost is None:
        assert ends == 0
        assert all(len(member.called) == CALLS for member in others), "a call was not answered"
        assert {status for member in others for status, _, _ in member.called} == {200}
        assert len({generation for member in others for _, generation, _ in member.called}) == 1
    else:
        assert ends == found.requests - 1, "the end was told more or less than once"
        assert all(len(member.failed) == CALLS for member in others), "a call was not told"
        assert "taken over" in found.lost
        assert "log in again" in found.lost


def check_healed(crew: Crew) -> None:
    """Everybody's next call is answered, whatever he was told before, and nothing is sent for it."""
    crew.complete()
    before = crew.server.counters.token_requests
    for member in crew.members:
        member.begin()
    crew.call(1)
    crew.until(lambda: all(member.is_done for member in crew.members), "healed")
    for member in crew.members:
        answered = [status for status, _, _ in member.called]
        assert (member.failed, answered) == ([], [200]), f"not healed: {member}"
    assert crew.server.counters.token_requests == before, "something was sent"
