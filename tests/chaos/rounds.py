"""One round: everybody's token is refused, one process refreshes, and something happens to it; then all is counted."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from typing import Final

from tests.chaos.crew import Crew, Member
from tests.chaos.worker import ANSWERED, CLAIMED

__all__ = ["FAULTS", "SOMEWHERE", "Fault", "Round", "run", "somewhere_in_the_save"]

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


FAULTS = [
    Fault("left alone"),
    Fault("killed before sending", CLAIMED),
    Fault("killed after the server rotated", ROTATED),
    Fault("killed with the answer in hand", ANSWERED),
    *(
        Fault("killed at a statement of the save", ANSWERED, doom=("statement", when, statement))
        for when, statement in [
            ("before", "PRAGMA journal_mode"),
            ("before", "BEGIN"),
            ("before", "UPDATE"),
            ("after", "UPDATE"),
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


def somewhere_in_the_save(chance: random.Random) -> Fault:
    """It dies between any two lines of the library, or between any two writes of SQLite's commit."""
    doom: tuple[object, ...] = ("line", chance.randint(1, LINES))
    if chance.random() < 0.3:
        doom = ("commit", chance.uniform(0.0, COMMIT))
    return Fault(SOMEWHERE, ANSWERED, doom=doom)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to. `longest`: seconds that a call took in a process that was not touched.

    `told_unknown`: calls of a process that stood still for longer than its time to live.
    """

    fault: Fault
    was_killed: bool
    was_saved: bool
    answered: int
    told_to_log_in: int
    told_unknown: int
    requests: int
    generations: int
    lost: str | None
    longest: float


def run(crew: Crew, fault: Fault) -> Round:
    """Let it happen, and check all that must hold. Raises AssertionError, which says what did not."""
    crew.complete()
    crew.settle()
    for member in crew.members:
        member.begin()
    writes, counters = len(crew.saves()), crew.server.counters
    crew.server.revoke_access()
    holder = _struck(crew, fault)
    assert crew.is_sound(), "the file is damaged"
    crew.until(lambda: all(member.is_done for member in crew.members if member is not holder), "answered")
    if holder is not None and fault.stop == "long":
        holder.signal(signal.SIGCONT)
    crew.until(lambda: all(member.is_done for member in crew.members), "all answered")
    crew.settle()
    new = crew.saves()[writes:]
    others = [member for member in crew.members if member is not holder]
    after = crew.server.counters
    found = Round(
        fault=fault,
        was_killed=holder is not None and holder.has_ended,
        was_saved=_was_saved(holder, new),
        answered=sum(status == 200 for member in crew.members for status, _, _ in member.called),
        told_to_log_in=_failures(crew.members, "LoginRequired"),
        told_unknown=_failures(crew.members, "RefreshOutcomeUnknown"),
        requests=after.token_requests - counters.token_requests,
        generations=after.refreshes - counters.refreshes,
        lost=_loss(others),
        longest=max(seconds for member in others for _, _, seconds in member.called or [(0, 0, 0.0)]),
    )
    try:
        _check(crew, fault, found, others, new)
    except AssertionError as error:
        told = "\n".join(map(str, crew.members))
        raise AssertionError(f"{fault}: {error}\n{found}\n{new}\n{told}") from error
    if found.lost is not None:
        crew.log_in()
    if found.lost is not None or fault.stop == "long":
        _check_healed(crew)
    return found


def _struck(crew: Crew, fault: Fault) -> Member | None:
    """Let everybody call, and the fault strike: the process that it struck."""
    if fault.point is None:
        crew.call(CALLS)
        return None
    if fault.point == ROTATED:
        crew.server.hold(ROTATED)
    else:
        crew.arm(crew.members, fault.point)
    crew.call(CALLS)
    holder = _holder(crew, fault.point)
    others = [member for member in crew.members if member is not holder]
    if fault.point != ROTATED:
        crew.arm(others, None)
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


def _was_saved(holder: Member | None, new: list[tuple[int, str, str | None]]) -> bool:
    """Whether a token of the holder's is in the file, or was there."""
    attempts = {attempt for _, attempt, _ in holder.events if attempt} if holder else set()
    return any(attempt in attempts for _, _, attempt in new)


def _failures(members: list[Member], kind: str) -> int:
    return sum(kind == failure for member in members for failure, _ in member.failed)


def _loss(others: list[Member]) -> str | None:
    """What the untouched processes were told instead of a token; None where the session lives."""
    said = {(kind, text) for member in others for kind, text in member.failed}
    if not said:
        return None
    assert len(said) == 1, "not everybody was told the same"
    [(kind, text)] = said
    assert kind == "LoginRequired", kind
    return text


def _check(
    crew: Crew, fault: Fault, found: Round, others: list[Member], new: list[tuple[int, str, str | None]]
) -> None:
    generations = [generation for generation, _, _ in new]
    assert generations == sorted(generations), "the store went back"
    assert found.generations == 1, "the server rotated more than once"
    # A stopped holder that comes back may save after all: that is no reason for fewer requests.
    saved = found.was_saved and fault.stop != "long"
    assert found.requests == fault.requests(saved=saved), "another number of token requests"
    must_be_lost = not crew.has_grace and found.requests == 2
    assert (found.lost is not None) == must_be_lost, "lost, or not lost, against the rule"
    ends = sum(member.kinds().count("dead") for member in crew.members)
    if found.lost is None:
        assert ends == 0
        assert all(len(member.called) == CALLS for member in others), "a call was not answered"
        assert {status for member in others for status, _, _ in member.called} == {200}
        assert len({generation for member in others for _, generation, _ in member.called}) == 1
    else:
        assert ends == 1, "the end was told more or less than once"
        assert all(len(member.failed) == CALLS for member in others), "a call was not told"
        assert "taken over" in found.lost
        assert "log in again" in found.lost


def _check_healed(crew: Crew) -> None:
    """Everybody's next call is answered, whatever he was told before, and nothing is sent for it."""
    crew.complete()
    before = crew.server.counters.token_requests
    for member in crew.members:
        member.begin()
    crew.call(1)
    crew.until(lambda: all(member.is_done for member in crew.members), "healed")
    alive = [member for member in crew.members if not member.has_ended]
    assert [(member.failed, [status for status, _, _ in member.called]) for member in alive] == [([], [200])] * len(
        alive
    )
    assert crew.server.counters.token_requests == before
