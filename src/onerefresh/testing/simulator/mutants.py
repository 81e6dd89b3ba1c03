"""The protocol with one rule taken out at a time, by putting something else in the rule's place.

Nothing of this is in the product: a mutant lives as long as its `with` block, in the process that simulates.
"""

# ruff: noqa: ARG001 - what stands in a rule's place takes what the rule takes

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from onerefresh import errors, policy
from onerefresh import record as records
from onerefresh.credential import shared
from onerefresh.record import Record, State
from onerefresh.renewal import decision, person, protocol, saving
from onerefresh.renewal.effects import DropSpool, Load, Loaded, Publish, ReadSpool, Spooled, WriteSpool
from onerefresh.renewal.protocol import Outcome
from onerefresh.renewal.sightings import Sightings
from onerefresh.store import Conflict, Moment, StoreOutcomeUnknown
from onerefresh.testing.simulator import process, store, world
from onerefresh.testing.simulator.faults import Happening, What
from onerefresh.testing.simulator.server import Kind

__all__ = ["MUTANTS", "Mutant"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A protocol without one rule.

    `rule`: its number in the guide. `without`: what is done instead. `plan`, `kind` and `fixed` narrow the scenarios to
    those in which the rule matters.
    """

    rule: str
    without: str
    replace: Callable[[], contextlib.AbstractContextManager[Any]]
    plan: str | None = None
    kind: Kind | None = None
    fixed: tuple[tuple[str, object], ...] = ()


def _put(place: object, name: str, piece: object) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    return lambda: mock.patch.object(place, name, piece)


def _put_both(name: str, piece: object) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """In the place of what `saving` defines and `protocol` uses too."""

    @contextlib.contextmanager
    def replaced() -> Iterator[None]:
        with mock.patch.object(saving, name, piece), mock.patch.object(protocol, name, piece):
            yield

    return replaced


# --- Pieces ---

_cas = store.SimulatedStore.cas
_commit_into = saving.commit_into
_may_commit = records.may_commit
_decide = decision.decide
_released = records.released
_committed = records.committed
_left = protocol._Lease.left


def _blind_claim(self: store.SimulatedStore, expected: str | None, record: Record) -> str:
    return _cas(self, self.version if record.state is State.LEASED else expected, record)


async def _owner_commits(loaded: Loaded, entry: Spooled, wish: Any) -> Record | None:
    record = loaded.record
    if record is not None and record.by != entry.attempt:
        owns = record.state is State.LEASED and record.attempt is not None and record.attempt.id == entry.attempt
        if not owns:
            return None
    return await _commit_into(loaded, entry, wish)


async def _commit_gives_up(loaded: Loaded, entry: Spooled, wish: Any) -> Record | None:
    try:
        return await _commit_into(loaded, entry, wish)
    except errors.StoreUnavailable:
        return None


async def _hand_out_first(loaded: Loaded, entry: Spooled, wish: Any) -> Record | None:
    await Publish(Outcome(entry.as_next()))
    return await _commit_into(loaded, entry, wish)


async def _commit_forgets_itself(loaded: Loaded, entry: Spooled, wish: Any) -> Record | None:
    if loaded.record is None or not records.may_commit(loaded.record, entry.family, entry.generation):
        return None
    return await _commit_into(loaded, entry, wish)


async def _judge_spool_by_an_older_record(wish: Any) -> bool:
    loaded = await Load()
    entry = await ReadSpool()
    if entry is None:
        return False
    try:
        await _commit_into(loaded, entry, wish)
    except (Conflict, StoreOutcomeUnknown):
        return True
    await DropSpool(entry)
    return True


def _dead_stays_dead(record: Record | None, family: str, generation: int) -> bool:
    return _may_commit(record, family, generation) and record is not None and record.state is not State.DEAD


def _any_family(record: Record | None, family: str, generation: int) -> bool:
    return record is not None and record.generation == generation and not record.is_logged_out


def _logged_out_too(record: Record | None, family: str, generation: int) -> bool:
    return record is not None and record.family == family and generation <= record.generation


def _repair_across_families(record: Record | None, wish: Any, now: float, **rest: Any) -> Any:
    known = wish.known
    if record is not None and known is not None and known.generation > record.generation:
        return decision.Repair(known)
    return _decide(record, wish, now, **rest)


def _no_repair(record: Record | None, wish: Any, now: float, **rest: Any) -> Any:
    return _decide(record, dataclasses.replace(wish, known=None), now, **rest)


async def _no(*_: Any, **__: Any) -> bool:
    return False


async def _nothing(*_: Any, **__: Any) -> None:
    return None


def _thirty_seconds(*_: Any) -> float:
    return 30.0


def _wall_clock(self: world.World, process: Any) -> Moment:
    return Moment("everybody's wall clock", process.host.clock.time())


def _first_sight(self: Any, attempt: Any, now: Any) -> float:
    return 0.0


def _own_watch_only(self: Any, attempt: Any, now: Any) -> float:
    return _left(self, dataclasses.replace(attempt, era=None), now)


def _any_hold(hold: Any, attempt: Any) -> bool:
    return attempt is not None and hold is not None


def _no_proof(hold: Any, attempt: Any) -> bool:
    return False


def _never_old(born: Any, now: Any) -> float:
    return 0.0


def _never_disputed(record: Any, *, proven_dead: bool) -> bool:
    return False


def _spool_is_full(self: Any, task: Any, effect: Any, fault: Any) -> bool:
    return False


def _failure_forgotten(record: Record, verdict: Any, **rest: Any) -> Record:
    return _released(record, None, **rest)


def _death_forgotten(record: Record, verdict: Any, *, now: float, refused: bool) -> Record:
    return _released(record, None, now=now, spread=0.0)


def _no_probation(record: Record, token: Any, **rest: Any) -> Record:
    return dataclasses.replace(_committed(record, token, **rest), probation=None)


def _undated(self: Any, record: Any, now: Any) -> Any:
    return record


@contextlib.contextmanager
def _no_spool() -> Iterator[None]:
    with mock.patch.dict(process._SHORT, {WriteSpool: _spool_is_full}):
        yield


@contextlib.contextmanager
def _no_damping() -> Iterator[None]:
    with mock.patch.object(records, "committed", _no_probation), mock.patch.object(person, "report_replay", _nothing):
        yield


CALM = ("faults", ())
OUTAGE = (CALM, ("happenings", (Happening(What.OUTAGE, 5.0, 60.0),)))
BAD_API = (CALM, ("happenings", (Happening(What.BAD_API, 5.0, 60.0),)), ("duration", 70.0), ("calls", 12))
WIPED = (("happenings", (Happening(What.WIPED, 20.0),)),)
BEHIND = (*OUTAGE, ("hosts", 2), ("skews", (3600.0, 0.0)), ("lonely", True))
STRICT = Kind.REVOKE_FAMILY

MUTANTS: tuple[Mutant, ...] = (
    Mutant("1", "claims are written whatever is there", _put(store.SimulatedStore, "cas", _blind_claim), fixed=(CALM,)),
    Mutant("2", "only the owner of the lease commits", _put_both("commit_into", _owner_commits),
           "paused with the answer in hand", Kind.REJECT_ONLY),
    Mutant("2", "a dead record is never revived", _put(records, "may_commit", _dead_stays_dead),
           "paused with the answer in hand", Kind.REJECT_ONLY),
    Mutant("2", "a commit does not know its own earlier write", _put_both("commit_into", _commit_forgets_itself)),
    Mutant("3", "invalid_grant is believed at once", _put(protocol._Spending, "_someone_commits", _no),
           "slow answer, then a pause", Kind.REJECT_ONLY),
    Mutant("3", "a dispute is never noticed", _put(protocol, "_is_disputed", _never_disputed),
           "slow answer, then a pause", Kind.REJECT_ONLY),
    Mutant("4", "30 s to live, whatever the grace window", _put(policy.Profile, "time_to_live", _thirty_seconds),
           "crash while the answer is under way", Kind.GRACE),
    Mutant("4", "30 s to live at a strict server", _put(policy.Profile, "time_to_live", _thirty_seconds),
           "paused right before sending", STRICT),
    Mutant("5", "wall clocks say when a lease is over", _put(world.World, "moment", _wall_clock)),
    Mutant("5", "a lease is over at first sight", _put(protocol._Lease, "left", _first_sight)),
    Mutant("5", "the store's clock is not asked", _put(protocol._Lease, "left", _own_watch_only),
           "crash right before sending", fixed=(("has_clock", True), ("has_flock", False))),
    Mutant("5", "a delay ends by the wall clock alone", _put(Sightings, "dated", _undated), fixed=BEHIND),
    Mutant("6", "no gate before sending", _put(protocol, "_age", _never_old),
           "paused between claim and gate", STRICT),
    Mutant("7", "any lock that is free proves a death", _put(protocol, "_is_proof", _any_hold)),
    Mutant("7", "no death is ever proven", _put(protocol, "_is_proof", _no_proof),
           "crash right before sending"),
    Mutant("8", "the commit gives up when the store is down", _put_both("commit_into", _commit_gives_up),
           "store down at the commit"),
    Mutant("8", "no spool", _no_spool, "store down at the commit, then a crash", Kind.REJECT_ONLY),
    Mutant("8", "the spool is never read", _put(protocol, "replay_spool", _no),
           "store down at the commit, then a crash", Kind.REJECT_ONLY),
    Mutant("8", "a spooled token is judged by an older record",
           _put(protocol, "replay_spool", _judge_spool_by_an_older_record),
           "an old record in hand", Kind.REJECT_ONLY),
    Mutant("8", "the committer rests for longer than others wait", _put(protocol, "LONGEST_REST", 60.0),
           "store down at the commit, no spool", Kind.REJECT_ONLY),
    Mutant("8", "the new token is handed out before it is saved", _put_both("commit_into", _hand_out_first)),
    Mutant("9", "a commit looks at the generation alone", _put(records, "may_commit", _any_family),
           "paused with the answer in hand", fixed=WIPED),
    Mutant("9", "a repair looks at the generation alone", _put(protocol, "decide", _repair_across_families)),
    Mutant("9", "a commit undoes a logout", _put(records, "may_commit", _logged_out_too)),
    Mutant("10", "nobody repairs a store that went back", _put(protocol, "decide", _no_repair),
           "store goes back after the commit", STRICT),
    Mutant("10", "the committer does not look again", _put(protocol, "look_again", _nothing),
           "store goes back after the commit", STRICT),
    Mutant("12", "a dead session is never looked up again", _put(shared, "LOOK_AGAIN", 1e9)),
    Mutant("12", "an `invalid_grant` is not remembered", _put(records, "died", _death_forgotten)),
    Mutant("12", "refused replays are not damped in the record", _no_damping,
           fixed=BAD_API),
    Mutant("12", "a failure is not remembered", _put(records, "released", _failure_forgotten), fixed=OUTAGE),
)  # fmt: skip
