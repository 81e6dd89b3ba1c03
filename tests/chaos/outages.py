"""One round in which something happens to the store: nobody is logged out by it, and nothing is sent while it cannot
save."""

from __future__ import annotations

import random
import signal
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from tests.chaos.crew import Crew, Member
from tests.chaos.place import ServerPlace
from tests.chaos.rounds import (
    CALLS,
    LEFT_ALONE,
    Count,
    Round,
    begin,
    check_healed,
    explained,
    failures,
    run,
    standing,
)
from tests.chaos.worker import ANSWERED, CLAIMED

__all__ = ["OUTAGES", "Cut", "Outage", "endure"]

CUTS, SHORTEST, LONGEST = 8, 0.005, 0.1
"""How often all connections are broken, and the seconds in between."""
SAYS_IT = 3
"""After so many calls each process of a session that is over has said so: the first may still be replayed."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What happens to the store, and when.

    `how`: "crashed", "frozen" or "failing_over". `point`: where the holder stands when it begins; None: nobody has
    called yet. `until`: the event that the holder goes on to meanwhile; "told": everybody was told that the store is
    down; None: it is over at once. `and_holder`: the holder is killed meanwhile.
    """

    name: str
    how: str
    point: str | None
    until: str | None = None
    and_holder: bool = False

    @property
    def lacks_the_claim(self) -> bool:
        """Whether the successor is left behind before anybody claims."""
        return self.how == "failing_over" and self.until is None

    def costs_a_claim(self, place: ServerPlace) -> bool:
        """Whether the store forgets that the holder is at it, so that a second one may send as well."""
        forgets = self.how == "crashed" and place.forgets and self.point is not None and self.until is None
        return forgets or self.lacks_the_claim


@dataclass(frozen=True, slots=True)
class Cut:
    """All connections break: at a write of a record in `state`, or again and again by chance (None)."""

    name: str
    state: str | None = None
    answered: bool = False

    def costs_a_claim(self, place: ServerPlace) -> bool:
        return False


OUTAGES: list[Outage | Cut] = [
    Outage("killed before anybody calls", "crashed", None, "told"),
    Outage("killed and started before anybody calls", "crashed", None),
    Outage("killed and started between claim and request", "crashed", CLAIMED),
    Outage("killed and started between answer and commit", "crashed", ANSWERED),
    Outage("killed before the commit, started after it failed", "crashed", ANSWERED, "spooled"),
    Outage("killed before the commit, as is the holder once it has spooled", "crashed", ANSWERED, "spooled", True),
    Outage("stopped before anybody calls", "frozen", None, "told"),
    Outage("stopped before the commit, until it failed", "frozen", ANSWERED, "spooled"),
    Outage("stopped before the commit, and the holder killed once it has spooled", "frozen", ANSWERED, "spooled", True),
    Outage("succeeded by one that lacks the claim", "failing_over", CLAIMED),
    Outage("succeeded by one that lacks the commit", "failing_over", ANSWERED, "refreshed"),
    Cut("cut off before it gets the claim", "leased"),
    Cut("cut off when it has got the claim", "leased", answered=True),
    Cut("cut off before it gets the commit", "idle"),
    Cut("cut off when it has got the commit", "idle", answered=True),
    Cut("cut off again and again"),
]


def endure(crew: Crew, outage: Outage | Cut, chance: random.Random) -> Round:
    """Let it happen, and check all that must hold. Raises AssertionError, which says what did not."""
    place = crew.place
    assert isinstance(place, ServerPlace)
    if isinstance(outage, Outage) and outage.how == "failing_over":
        place.prepare_successor()
        run(crew, LEFT_ALONE)  # a server says that another one follows it, and each process must have heard so
    _call_once(crew)  # who knows the token can bring it back
    count = begin(crew)
    began = time.monotonic()
    holder: Member | None = None
    match outage:
        case Cut():
            _cut(crew, place, outage, chance)
        case Outage(point=None):
            _before_anybody_calls(crew, place, outage, count)
        case Outage():
            holder = _behind_the_holder(crew, place, outage)
    cached_for = time.monotonic() - began
    overdue = holder is not None and cached_for >= place.time_to_live
    crew.until(lambda: all(member.is_done for member in crew.members), "all told")
    if isinstance(outage, Outage) and outage.how == "failing_over" and outage.until:
        crew.until(lambda: any("restored" in member.kinds() for member in crew.members), "restored")
    crew.settle()
    during = count.round(outage.name, holder, was_stopped=False, lost=None)
    with explained(crew, outage, during, count):
        assert place.is_sound(), "the record is damaged"
        allowed = {"StoreUnavailable"}
        if not crew.has_grace:
            allowed |= {"LoginRequired", "RefreshOutcomeUnknown"}  # A refusal of the second use may be doubtful.
        for member in crew.members:
            # The calls of a process whose refresher was held here for longer than it may take are not kept waiting.
            late = {"RefreshOutcomeUnknown"} if member is holder and cached_for >= place.http_timeout else set[str]()
            assert {kind for kind, _ in member.failed} <= allowed | late, member
        ended = during.told_to_log_in > 0
    after = _ended(crew, count, outage, holder) if ended else _healed(crew, count, outage, holder)
    found = replace(
        after,
        answered=during.answered + after.answered,
        told_unavailable=during.told_unavailable + after.told_unavailable,
        longest=max(during.longest, after.longest),
    )
    with explained(crew, outage, found, count):
        spooled = isinstance(outage, Outage) and outage.until == "spooled"
        _check(crew, found, count, may_send_twice=(overdue and not spooled) or outage.costs_a_claim(place))
    if found.lost is not None:
        crew.log_in()
        check_healed(crew)
    return found


def _out(place: ServerPlace, outage: Outage) -> AbstractContextManager[None]:
    out: AbstractContextManager[None] = getattr(place, outage.how)()
    return out


def _before_anybody_calls(crew: Crew, place: ServerPlace, outage: Outage, count: Count) -> None:
    with _out(place, outage):
        if outage.until is not None:
            crew.call(CALLS)
            crew.until(lambda: all(member.is_done for member in crew.members), "told")
            assert count.requests_now() == 0, "something was sent although it could not be saved"
            assert failures(crew.members, "StoreUnavailable") == CALLS * len(crew.members)
    if outage.until is None:
        crew.call(CALLS)


def _behind_the_holder(crew: Crew, place: ServerPlace, outage: Outage) -> Member:
    assert outage.point is not None
    with ExitStack() as out:
        if outage.lacks_the_claim:
            out.enter_context(_out(place, outage))
        holder = standing(crew, outage.point)
        if not outage.lacks_the_claim:
            out.enter_context(_out(place, outage))
        if outage.until is not None:
            holder.tell("go")
            crew.until(lambda: outage.until in holder.kinds(), str(outage.until))
        if outage.and_holder:
            holder.signal(signal.SIGKILL)
            crew.until(lambda: holder.has_ended, "dead")
    if outage.until is None:
        others = [member for member in crew.members if member is not holder]
        if outage.costs_a_claim(place):  # the worst that can come of it
            crew.until(lambda: _claimed_again(others), "claimed again")
        holder.tell("go")
    return holder


def _claimed_again(others: list[Member]) -> bool:
    return any("claimed" in member.kinds() for member in others) or all(member.is_done for member in others)


def _cut(crew: Crew, place: ServerPlace, cut: Cut, chance: random.Random) -> None:
    if cut.state is not None:
        place.cut_at(cut.state, answered=cut.answered)
    crew.call(CALLS)
    if cut.state is None:
        for _ in range(CUTS):
            time.sleep(chance.uniform(SHORTEST, LONGEST))
            place.relay.cut()


def _healed(crew: Crew, count: Count, outage: Outage | Cut, holder: Member | None) -> Round:
    """Everybody's next call, which is answered whatever he was told before."""
    _call_once(crew)
    after = count.round(outage.name, holder, was_stopped=False, lost=None)
    return after if after.told_to_log_in == 0 else _ended(crew, count, outage, holder)


def _ended(crew: Crew, count: Count, outage: Outage | Cut, holder: Member | None) -> Round:
    """The session is over: in the end everybody says so, in the same words."""
    for _ in range(SAYS_IT):
        _call_once(crew)
    told = {text for member in crew.members for _, text in member.failed}
    lost = " / ".join(sorted(told))
    return count.round(outage.name, holder, was_stopped=False, lost=lost)


def _call_once(crew: Crew) -> None:
    crew.complete()
    for member in crew.members:
        member.begin()
    crew.call(1)
    crew.until(lambda: all(member.is_done for member in crew.members), "answered again")
    crew.settle()


def _check(crew: Crew, found: Round, count: Count, *, may_send_twice: bool) -> None:
    assert crew.spooled() == [], "a token waits in a file although the store is back"
    generations = [save.generation for save in count.saves()]
    assert generations[-1] == max(generations), "the store is behind"
    assert found.generations == 1, "the server rotated more than once"
    assert found.reused == 0 or may_send_twice, "a refresh token was sent twice"
    assert (found.lost is not None) == (found.reused > 0 and not crew.has_grace), "lost, or not lost, against the rule"
    if found.lost is None:
        assert found.requests == 1 + found.reused
        assert all(len(member.called) == 1 for member in crew.members), "a call was not answered"
        assert {status for member in crew.members for status, _, _ in member.called} == {200}
        assert len({generation for member in crew.members for _, generation, _ in member.called}) == 1
    else:
        assert all(len(member.failed) == 1 for member in crew.members), "a call was not told"
        assert "log in again" in found.lost
        assert " / " not in found.lost, "not everybody was told the same"
