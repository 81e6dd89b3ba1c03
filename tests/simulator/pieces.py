"""What is put in the place of a rule's piece, and does not keep the rule."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any
from unittest import mock

from tests.effects import ReadNote, ReportLoss, WriteSpool
from tests.simulator import process, store, world

from onerefresh import damping, errors, succession
from onerefresh import transitions as records
from onerefresh.credential import memory
from onerefresh.failure import Failure
from onerefresh.policy import DETECTION
from onerefresh.profile import SHORTEST_LEASE, Profile
from onerefresh.record import Record, State
from onerefresh.renewal import (
    commands,
    commit,
    decide,
    host_save,
    period_watch,
    recovery,
    recovery_lease,
    send,
    steps,
)
from onerefresh.renewal.attempt import Attempt, Outcome
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.known import Known
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import NO_NOTE, Loaded, Spooled, World
from onerefresh.store import Conflict, StoreOutcomeUnknown, StoreTime
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, Verdict

_cas = store.SimulatedStore.cas
_commit_into = commit.commit_into
_is_outdated = recovery._is_outdated
_may_commit = succession.may_commit
_decide = decide.decide
_released = records.released
_committed = records.committed
_left = period_watch.PeriodWatch.left
_adopt = memory.SessionMemory.adopt


def blind_claim(self: store.SimulatedStore, expected: str | None, record: Record) -> str:
    return _cas(self, self.version if record.state is State.LEASED else expected, record)


async def dated_before_its_write(
    world: World, expected: str | None, record: Record, recovery: recovery_lease.Recovery | None
) -> None:
    if recovery is not None and record.lease is not None and recovery.noted.at.shared is not None:
        dated, mark = recovery.noted.at.shared, recovery.noted.mark
        lease = dataclasses.replace(record.lease, clock_epoch=dated.clock_epoch, at=dated.seconds, noted=mark)
        record = dataclasses.replace(record, lease=lease)
    await world.cas(expected, record)


async def owner_commits(world: World, loaded: Loaded, entry: Spooled, *more: Any) -> Record | None:
    record = loaded.record
    if record is not None and record.committed_by != entry.attempt:
        owns = record.state is State.LEASED and record.lease is not None and record.lease.id == entry.attempt
        if not owns:
            return None
    return await _commit_into(world, loaded, entry, *more)


async def commit_gives_up(world: World, loaded: Loaded, entry: Spooled, *more: Any) -> Record | None:
    try:
        return await _commit_into(world, loaded, entry, *more)
    except errors.StoreUnavailable:
        return None


async def hand_out_first(world: World, loaded: Loaded, entry: Spooled, *more: Any) -> Record | None:
    await world.deliver(Outcome(entry.as_next()))
    return await _commit_into(world, loaded, entry, *more)


async def commit_forgets_itself(world: World, loaded: Loaded, entry: Spooled, *more: Any) -> Record | None:
    if loaded.record is None or not succession.may_commit(loaded.record, entry.family, entry.generation):
        return None
    return await _commit_into(world, loaded, entry, *more)


def dead_stays_dead(record: Record | None, family: str, generation: int) -> bool:
    return _may_commit(record, family, generation) and record is not None and record.state is not State.DEAD


def any_family(record: Record | None, family: str, generation: int) -> bool:
    return record is not None and record.generation == generation and not record.is_logged_out


def logged_out_too(record: Record | None, family: str, generation: int) -> bool:
    return record is not None and record.family == family and generation <= record.generation


def repair_across_families(record: Record | None, request: Any, now: float, **rest: Any) -> Any:
    known = request.known.newest
    if record is not None and known is not None and known.generation > record.generation:
        return steps.Repair(known)
    return _decide(record, request, now, **rest)


def no_repair(record: Record | None, request: Any, now: float, **rest: Any) -> Any:
    return _decide(record, _knowing(request, None), now, **rest)


def seed_alone(record: Record | None, request: Any, now: float, **rest: Any) -> Any:
    known = request.known.newest if record is not None else None
    return _decide(record, _knowing(request, known), now, **rest)


def _knowing(request: RenewalRequest, newest: Token | None) -> RenewalRequest:
    return request.knowing(request.known._replace(newest=newest))


def repair_after_a_logout(record: Record, family: str, generation: int, earlier: object = ()) -> bool:
    return record.family == family and record.generation < generation


def as_it_is(self: Any, record: Record) -> Record:
    return record


async def no(*_: Any, **__: Any) -> bool:
    return False


async def nothing(*_: Any, **__: Any) -> None:
    return None


def thirty_seconds(*_: Any) -> float:
    return 30.0


def wall_clock(self: world.World, process: Any) -> StoreTime:
    return StoreTime("everybody's wall clock", process.host.clock.time())


def first_sight(self: Any, lease: Any, now: Any) -> float:
    return 0.0


def own_watch_only(self: Any, lease: Any, now: Any) -> float:
    return _left(self, dataclasses.replace(lease, clock_epoch=None), now)


def any_hold(hold: Any, lease: Any) -> bool:
    return lease is not None and hold is not None


def no_proof(hold: Any, attempt: Any) -> bool:
    return False


def never_old(born: Any, now: Any) -> float:
    return 0.0


def never_contested(record: Any, *, proven_dead: bool) -> bool:
    return False


def spool_is_full(self: Any, task: Any, effect: Any, fault: Any) -> bool:
    return False


def failure_forgotten(record: Record, verdict: Any, **rest: Any) -> Record:
    return _released(record, None, **rest)


def doubt_forgotten(record: Record, verdict: Any, **rest: Any) -> Record:
    return _released(record, verdict, **(rest | {"maybe_spent": False}))


def death_forgotten(record: Record, verdict: Any, *, now: float, refused: bool, **_: Any) -> Record:
    return _released(record, None, now=now, jitter=0.0)


def no_probation(record: Record, token: Any, **rest: Any) -> Record:
    return dataclasses.replace(_committed(record, token, **rest), probation=None)


def own_clock_is_right(*_: object) -> float:
    return 0.0


def age_on_the_wall(failure: Failure, now: Instant, since: float | None) -> float:
    return max(now.wall - failure.at, 0.0)


def undated(self: Any, record: Any, *_: Any) -> Any:
    return record


@contextlib.contextmanager
def no_spool() -> Iterator[None]:
    with mock.patch.dict(process._SHORT, {WriteSpool: spool_is_full}):
        yield


@contextlib.contextmanager
def no_damping() -> Iterator[None]:
    with mock.patch.object(records, "committed", no_probation), mock.patch.object(commands, "report_replay", nothing):
        yield


def target_unknown(where: Any, **what: Any) -> Any:
    return _rule(None, **what)


def as_before(targets: Any, *_: Any) -> Any:
    return targets


_rule = damping.rule
_run_attempt = send.run_attempt
_hand_over = host_save._hand_over


async def born_with_its_claim(attempt: Attempt) -> Outcome | None:
    attempt.born = await attempt.world.now()
    return await _run_attempt(attempt)


def own_clock_only(born: Any, now: Any) -> float:
    return float(now.monotonic - born.monotonic)


def small_windows_count(self: Profile, token: Any, now: float, http_timeout: float) -> float:
    return min(max(self.grace - DETECTION - http_timeout, http_timeout + DETECTION), SHORTEST_LEASE)


async def spool_into_any_family(world: World, request: Any) -> bool:
    entry = await world.read_spool()
    if entry is None:
        return False
    loaded = await world.load()
    record = loaded.record
    if record is not None and not record.is_logged_out:
        entry = dataclasses.replace(entry, family=record.family, generation=record.generation)
    try:
        await _commit_into(world, loaded, entry, request)
    except (Conflict, StoreOutcomeUnknown):
        return True
    await world.drop_spool(entry)
    return True


async def spool_is_kept(world: World, request: Any) -> bool:
    entry = await world.read_spool()
    if entry is None:
        return False
    loaded = await world.load()
    try:
        committed = await _commit_into(world, loaded, entry, request)
    except (Conflict, StoreOutcomeUnknown):
        return True
    if committed is None:
        return False
    await world.drop_spool(entry)
    return True


def only_the_seed_tells(entry: Spooled, request: RenewalRequest) -> bool:
    return request.known.newest is None and _is_outdated(entry, request)


def any_other_seed_tells(entry: Spooled, request: RenewalRequest) -> bool:
    return _is_outdated(dataclasses.replace(entry, families=()), request)


def taken_for_saved(record: Record, token: Token, **rest: Any) -> Record:
    return dataclasses.replace(_committed(record, token, **rest), unsaved=False)


async def hand_over_or_not(world: World, token: Token) -> None:
    with contextlib.suppress(errors.SaveFailed):
        await _hand_over(world, token)


async def keep_whatever_came_since(world: World, loaded: Loaded, token: Token) -> None:
    await _hand_over(world, token)
    if loaded.record is not None:
        with contextlib.suppress(Conflict, StoreOutcomeUnknown):
            await world.cas(loaded.version, records.saved(loaded.record))


def nothing_before(request: RenewalRequest, known: Known) -> tuple[str, ...]:
    return ()


def as_if_lost(kind: FailureKind, detail: str, *, repeatable: bool, is_anothers: bool) -> Verdict:
    return Verdict(kind, detail, repeatable=repeatable)


def not_noticed(self: Any, *_: Any) -> None:
    return None


async def what_was_known_at_first(self: Any) -> Known:
    if not hasattr(self, "known_at_first"):
        self.known_at_first = self._memory.known()
    known: Known = self.known_at_first
    return known


async def yes(*_: Any, **__: Any) -> bool:
    return True


def never(*_: Any, **__: Any) -> bool:
    return False


@contextlib.contextmanager
def nothing_counts_as_spent() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for place, name in ((Record, "has_spent"), (Known, "has_spent"), (succession, "has_gone_on_from")):
            stack.enter_context(mock.patch.object(place, name, never))
        yield


@contextlib.contextmanager
def nobody_reports() -> Iterator[None]:
    with mock.patch.dict(process._SHORT, {ReportLoss: no_note, ReadNote: not_noticed}):
        yield


def no_note(self: Any, *_: Any) -> str:
    return NO_NOTE


def adopted_ageing_is_postponed(self: memory.SessionMemory, outcome: Outcome, epoch: int) -> None:
    _adopt(self, outcome, epoch)
    held, now = self.held, self.clock.time()
    if held.refresh_at <= now:
        held.refresh_at = min(now + memory.LOOK_AGAIN, held.unusable_at)


def not_marked(record: Record, token: Any, **rest: Any) -> Record:
    return _committed(record, token, **(rest | {"repeated": False}))


def useless_without_a_pause(record: Record, token: Any, **rest: Any) -> Record:
    found = _committed(record, token, **rest)
    failure = found.failure
    return found if failure is None else dataclasses.replace(found, failure=dataclasses.replace(failure, delay=0.0))


def no_rest(*_: Any) -> float:
    return 0.0


def as_it_was_asked_for(self: Token, asked_at: float, at: float) -> Token:
    return self


def dead_at_once(status: int, *_: Any, **__: Any) -> Verdict:
    return Verdict(FailureKind.DEAD, f"the token endpoint answered {status}")
