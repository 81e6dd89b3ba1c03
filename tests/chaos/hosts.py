"""One round in which the holder's host is cut off from all others, and comes back when they have gone on without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.crew import Crew, start_forks
from tests.chaos.kinds import Kind
from tests.chaos.network import Network
from tests.chaos.rounds import CALLS, ROTATED, Count, Round, begin, check_healed, explained, loss, standing
from tests.chaos.worker import ANSWERED, CLAIMED, UNREACHED

__all__ = ["PARTINGS", "Parting", "part", "spread_out"]

HOSTS, SIZE = 3, 6
CANNOT_KNOW = {"StoreUnavailable", "RefreshUnavailable", "RefreshOutcomeUnknown", UNREACHED}
"""What a call may be told on a host without a network; that it must log in is not among it."""


@dataclass(frozen=True, slots=True)
class Parting:
    """The cable is pulled out where the holder stands at this point."""

    name: str
    point: str

    @property
    def requests(self) -> int:
        """How many arrive at the token endpoint."""
        return 1 if self.point == CLAIMED else 2


PARTINGS = [
    Parting("cut off before sending", CLAIMED),
    Parting("cut off after the server rotated", ROTATED),
    Parting("cut off with the answer in hand", ANSWERED),
]


@contextmanager
def spread_out(kind: Kind, folder: Path, *, has_grace: bool) -> Iterator[tuple[Crew, Network]]:
    """A crew on several hosts; this thread is among its servers meanwhile."""
    start_forks()  # outside: other crews are forked from the same server
    with Network(HOSTS) as network, network.among_the_servers(), kind.open(folder, network.address) as place:
        with Crew(folder, place, has_grace=has_grace, size=SIZE, network=network) as crew:
            yield crew, network


def part(crew: Crew, network: Network, parting: Parting) -> Round:
    """Let it happen, and check all that must hold. Raises AssertionError, which says what did not."""
    count = begin(crew)
    holder = standing(crew, parting.point)
    others = [member for member in crew.members if member.host != holder.host]
    with network.cut_off(holder.host):
        assert not network.reaches(holder.host), "the cable is in"
        if parting.point == ROTATED:
            crew.server.release(ROTATED)
        holder.tell("go")
        crew.until(lambda: all(member.is_done for member in others), "answered")
        if parting.point == ANSWERED:
            crew.until(lambda: "spooled" in holder.kinds(), "spooled")
        lost = loss(others)
        if lost is not None:
            crew.log_in()
    crew.until(lambda: all(member.is_done for member in crew.members), "all answered")
    crew.settle()
    found = count.round(parting.name, holder, was_stopped=False, lost=lost)
    with explained(crew, parting, found, count):
        _check(crew, parting, found, count, holder.host)
        if parting.point == ANSWERED:
            assert "orphaned" in holder.kinds(), "it did not learn that its token came too late"
    check_healed(crew)
    return found


def _check(crew: Crew, parting: Parting, found: Round, count: Count, host: int) -> None:
    away = [member for member in crew.members if member.host == host]
    others = [member for member in crew.members if member.host != host]
    told = {kind for member in away for kind, _ in member.failed}
    assert told <= CANNOT_KNOW, f"told without a network: {told}"
    assert crew.spooled() == [], "a token waits in a file although the host is back"
    saves = count.saves()
    generations = [save.generation for save in saves]
    assert generations == sorted(generations), "the store went back"
    ends = "dead" if found.lost else "idle"
    assert [save.state for save in saves[:3]] == ["leased", "leased", ends], "not: claimed, taken over, ended"
    assert len({attempt for member in others for kind, attempt, _ in member.events if kind == "taken_over"}) == 1
    assert not any("taken_over" in member.kinds() for member in away), "it took over itself"
    assert found.requests == parting.requests
    assert found.generations == 1, "the server rotated more than once"
    must_be_lost = not crew.has_grace and found.requests == 2
    assert (found.lost is not None) == must_be_lost, "lost, or not lost, against the rule"
    if found.lost is None:
        assert all(len(member.called) == CALLS for member in others), "a call was not answered"
        assert {status for member in others for status, _, _ in member.called} == {200}
    else:
        assert sum(member.kinds().count("dead") for member in crew.members) == 1
        assert all(len(member.failed) == CALLS for member in others), "a call was not told"
        assert "taken over" in found.lost
        assert "log in again" in found.lost
