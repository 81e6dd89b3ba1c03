"""Moving a session from one store to another, while processes use both.

The order of the writes makes sure that only one of the two stores has a session that anybody may use:

1. The source's record is marked as moved: nobody uses it from now on, but it keeps its token (`records.moving`).
   This waits for a renewal under way, and takes over from one whose lease is over, as any renewal does.
2. The target gets the record, with the token.
3. The source's record loses its token (`records.left_behind`).

If a process dies in between, nothing is lost, since the token is in one of the stores, and nothing is spent twice,
since at most one of them is used. The next move of the same credential continues where the first one stopped. A new
token that comes too late for the source, or waits in its spool, is moved later.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import NamedTuple

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.events import Kind
from onerefresh.record import Grant, Record, State
from onerefresh.renewal.claim import is_contested
from onerefresh.renewal.commit import commit_into
from onerefresh.renewal.period_watch import PeriodWatch
from onerefresh.renewal.recovery import replay_spool
from onerefresh.renewal.reports import MOST_ROUNDS, moved, report, unsettled
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.revocation import revoke_if_logged_out
from onerefresh.renewal.world import Loaded, World
from onerefresh.store import AdvisoryLock, Conflict, StoreOutcomeUnknown

__all__ = ["Move", "Moved", "Result", "bring_here", "is_here", "move"]


class Moved(enum.StrEnum):
    """What a move found, or did."""

    NOTHING = "nothing"  # the source has no record
    MOVED = "moved"
    ALREADY = "already"  # an earlier move has done it all
    NEWER = "newer"  # the target had a newer generation, or a later session, which it keeps


class Result(NamedTuple):
    """The end of a move. `record`: what this move has written into the target, or None where it has not."""

    what: Moved
    record: Record | None = None


class Move(NamedTuple):
    """Both stores of a move: what can be done in each, and their names.

    `request`: that of the credential; `there`: the same, as the source is asked.
    """

    source: World
    target: World
    source_name: str
    target_name: str
    request: RenewalRequest
    there: RenewalRequest


class _Target(enum.Enum):
    """How the target's record compares with the source's."""

    LACKS = enum.auto()  # it is to be written
    HAS = enum.auto()  # the same generation, or what has become of it
    NEWER = enum.auto()


async def bring_here(move_: Move) -> None:
    """Move the session to the target if only the source has it; else take along what waits in the source's spool.

    Raises `CredentialMoved` where both stores say that it was moved away.
    """
    here = (await move_.target.load()).record
    if is_here(here):
        await _take_along(move_)
        return
    await move(move_)


def is_here(record: Record | None) -> bool:
    """Whether the session is in the store of this record, so that no other store needs to be asked."""
    return record is not None and record.moved_to is None


async def move(move_: Move) -> Result:
    """Move the session from the source to the target. Waits for a renewal under way there.

    Raises `ConfigurationError` where the target has another session, which must not be overwritten, and
    `CredentialMoved` where the session was moved to a third store.
    """
    return await _Moving(move_).run()


class _Moving:
    """One move: it looks at both records and performs the next step, until the session is in the target alone.

    * `lock`: the source's lock while this move holds it.
    * `did`: what this move has done so far. `written`: what it has written into the target.
    """

    def __init__(self, move_: Move) -> None:
        self.move = move_
        self.watch = PeriodWatch()
        self.lock: AdvisoryLock | None = None
        self.did = Moved.ALREADY
        self.written: Record | None = None
        self.rounds = 0

    async def run(self) -> Result:
        try:
            while True:
                self.rounds += 1
                if self.rounds > MOST_ROUNDS:
                    raise unsettled().about(self.move.request.key)
                found = await self.step()
                if found is not None:
                    break
        finally:
            await self.move.source.leave()
        await _take_along(self.move)
        return Result(found, self.written)

    async def step(self) -> Moved | None:
        """Do one step; None: look again."""
        source = self.move.source
        found = await source.load()
        record = found.record
        if record is None:
            return Moved.NOTHING
        if record.moved_to is not None:
            return await self.go_on(found, record)
        if await replay_spool(source, self.move.there):
            return None
        now = await source.now()
        proven_dead = self.is_proof(record)
        if record.state is State.LEASED and record.lease is not None and not proven_dead:
            left = self.watch.left(record.lease, now)
            if left > 0.0:
                await self.wait(found, left)
                return None
        record = _free(record, now.wall, proven_dead=proven_dead)
        # Asked before the first write: later, another session in the target is one that began during the move.
        there = await self.move.target.load()
        self.refuse_another(record, there.record)
        mark = records.moving(record, self.move.target_name, id=await source.new_id(), now=now.wall)
        if record.token is None:
            return await self.move_the_end(found, record, mark, there)
        await self.write(source, found.version, mark)
        return None

    async def go_on(self, found: Loaded, record: Record) -> Moved | None:
        """Continue a move that has begun: the source's record is out of use."""
        target, name = self.move.target, self.move.target_name
        there = await target.load()
        have = _compared(record, there.record)
        if record.moved_to != name and (record.token is not None or have is _Target.LACKS):
            raise moved(record).about(self.move.request.key, record.generation)
        if record.token is None:
            return self.did
        if there.record is not None and there.record.moved_to is not None and there.record.token is not None:
            raise moved(there.record).about(self.move.request.key, there.record.generation)
        if have is _Target.LACKS:
            self.did, self.written = Moved.MOVED, records.arrived(record)
            await self.write(target, there.version, self.written)
            return None
        if self.did is Moved.ALREADY:
            goes_on = there.record is not None and record.history[-1] in there.record.history
            self.did = Moved.MOVED if goes_on or have is _Target.HAS else Moved.NEWER
        await self.write(self.move.source, found.version, records.left_behind(record))
        return None

    async def move_the_end(self, found: Loaded, record: Record, mark: Record, there: Loaded) -> Moved | None:
        """Move a record without a token, such as that of a logout. It is of use to nobody, so both may have it."""
        if _compared(record, there.record) is _Target.LACKS:
            if not await self.write(self.move.target, there.version, record):
                return None
            self.did, self.written = Moved.MOVED, record
        elif self.did is Moved.ALREADY:
            self.did = Moved.NEWER
        await self.write(self.move.source, found.version, records.left_behind(mark))
        return None

    async def write(self, world: World, expected: str | None, record: Record) -> bool:
        """Write the record where it has not changed; whether that is known. Else the next look decides."""
        try:
            await world.cas(expected, record)
        except (Conflict, StoreOutcomeUnknown):
            return False
        return True

    async def wait(self, found: Loaded, left: float) -> None:
        """Wait until the lease of a renewal is over, or the death of its process is proven."""
        source, lease = self.move.source, found.record.lease if found.record is not None else None
        if self.lock is None and lease is not None and lease.death_proof is not None:
            self.lock = await source.enter()
            if self.lock is not None:
                return  # look again under the lock: the lease may be another one by now
        await source.leave()
        self.lock, self.rounds = None, 0
        why = f"a process refreshes it in {self.move.source_name}, for at most {left:.1f} s more"
        await source.watch(found.version, left, why)

    def is_proof(self, record: Record) -> bool:
        """Whether the lock that this move holds proves that the record's attempt is dead."""
        proof = self.lock.death_proof if self.lock is not None else None
        return proof is not None and record.lease is not None and proof == record.lease.death_proof

    def refuse_another(self, record: Record, there: Record | None) -> None:
        """Raise `ConfigurationError` where it is not clear which of both sessions is the later one."""
        name, problem = self.move.target_name, ""
        if there is None:
            return
        if there.moved_to is not None:
            if there.token is not None or there.moved_to != self.move.source_name:
                raise moved(there).about(self.move.request.key, there.generation)
        elif not _is_related(record, there):
            problem = f"{name} has another session" if there.token else f"{name} has the end of another session"
        elif record.token is not None and there.is_logged_out and not _knows(record, there):
            problem = f"{name} has a logout of an older generation of this session"
        elif there.identity == record.identity and _is_another(record, there):
            problem = f"{name} has another token of the same generation, so both stores have refreshed the one before"
        if problem:
            message = f"{problem}; nothing was changed: log out in one of the stores and purge it there, then try again"
            raise errors.ConfigurationError(message, credential=self.move.request.key)


def _free(record: Record, now: float, *, proven_dead: bool) -> Record:
    """The record without its lease, which is over: what its attempt has sent may have been accepted."""
    lease = record.lease
    if record.state is not State.LEASED or lease is None:
        return record
    if lease.is_recovery or lease.grant is not Grant.REFRESH:
        return records.released(record, None, now=now, jitter=0.0)
    left = replace(record, lease=replace(lease, contested=is_contested(record, proven_dead=proven_dead)))
    return records.unsent(left, "a process disappeared while it refreshed the token", now=now, taken_over=True)


def _is_related(record: Record, there: Record) -> bool:
    """Whether both records are of one session, or one is of a later session than the other."""
    if record.family == there.family or not record.families or not there.families:
        return not record.families or bool(there.families) or not there.generation
    if record.family in there.families:
        return record.generation < there.generation
    return there.family in record.families and there.generation < record.generation


def _knows(record: Record, there: Record) -> bool:
    """Whether the session in `record` began after the logout that left `there`, or was ended by it."""
    return record.generation <= there.generation or there.history[-1:] == () or there.history[-1] in record.history


def _is_another(record: Record, there: Record) -> bool:
    """Whether two records of one generation have different tokens."""
    return there.token is not None and record.token is not None and there.token != record.token


def _compared(record: Record, there: Record | None) -> _Target:
    """How the target's record compares with the source's."""
    if there is None or there.moved_to is not None or (not there.families and not there.generation):
        return _Target.LACKS
    if there.family == record.family:
        if there.generation < record.generation:
            return _Target.LACKS
        return _Target.NEWER if there.generation > record.generation else _Target.HAS
    is_earlier = there.family in record.families and there.generation < record.generation
    return _Target.LACKS if is_earlier else _Target.NEWER


async def _take_along(move_: Move) -> None:
    """Bring new tokens from the source's spool on this host: they came too late to be saved in the source."""
    source, target = move_.source, move_.target
    for _ in range(MOST_ROUNDS):
        entry = await source.read_spool()
        if entry is None:
            return
        loaded = await target.load()
        record = loaded.record
        if record is None or record.moved_to is not None:
            return  # it waits until a session is there
        try:
            committed = await commit_into(target, loaded, entry, move_.request)
        except (Conflict, StoreOutcomeUnknown):
            continue
        if committed is None and record.is_logged_out and not move_.request.can_revoke:
            return  # left to a renewal, which can revoke the token
        await source.drop_spool(entry)
        if committed is None:
            await revoke_if_logged_out(target, record, entry.token, move_.request)
        elif committed is not record:
            detail = f"from the spool file of {move_.source_name}"
            await report(target, Kind.RESTORED, move_.request, committed, detail, attempt=entry.attempt)
