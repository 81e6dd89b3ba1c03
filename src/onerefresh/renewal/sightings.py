"""What one process remembers of the records it has read: failures, logouts, servers, and when it first saw them.

Times are on the process's own monotonic clock.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from onerefresh import succession
from onerefresh.failure import Failure
from onerefresh.record import Lease, Record, State
from onerefresh.renewal.atomic import Atomic
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.servers import Servers
from onerefresh.renewal.sights import Loss, Sight, age_of, by_store, knowing, name_of, noting, resting
from onerefresh.verdict import FailureKind

__all__ = ["Sightings"]

REFUSALS = (FailureKind.DEAD, FailureKind.DOUBTFUL)
"""What proves nothing where another attempt may have spent the refresh token."""
NEVER = -math.inf
"""A time before all others; one object for all instances, of which there may be thousands."""
MOST = 8
"""How many earlier failures of one generation, and how many ends of attempts, are remembered."""
GENERATIONS = 4
"""The failures of how many generations are remembered: a store that goes back shows one of an older generation."""


class _Failed(NamedTuple):
    """The last failure at a generation. `earlier`: what identifies the failures before it."""

    identity: tuple[str, int]
    failure: Failure
    is_dead: bool
    earlier: tuple[object, ...] = ()


class _State(NamedTuple):
    """What a `Sightings` remembers, as one value.

    * `damped`: the last token whose refusal was reported as damped.
    * `failure`, `probation`: the first sight of the last failure's date, and of the last probation's.
    * `server`: the server that answered last, None for the first one of the store; `replaced`: servers that had the
      record before another one had it; `since`: when `server` came back, if it is one of `replaced`.
    * `failed`: the last failures, of the last generations at which any was seen; `lost`: the last lost answers.
    * `ended`: how attempts of this process ended, each with its lease.
    * `logged_out`: the last record that a logout or a move has emptied.
    """

    damped: tuple[str, int] | None = None
    failure: Sight | None = None
    probation: Sight | None = None
    server: str | None = None
    replaced: tuple[str, ...] = ()
    since: float = NEVER
    failed: tuple[_Failed, ...] = ()
    lost: tuple[Loss, ...] = ()
    ended: tuple[tuple[Lease, Record], ...] = ()
    logged_out: Record | None = None

    def failed_at(self, identity: tuple[str, int]) -> _Failed | None:
        """The last failure at the generation of this identity."""
        return next((failed for failed in self.failed if failed.identity == identity), None)


NOTHING = _State()


class Sightings(Atomic[_State]):
    """What one process remembers of the failures, probations and servers of one credential.

    A record dates its failures by the wall clock of the machine that wrote it. Where that clock is ahead, a failure
    would last until this machine's clock has caught up, so no failure is dated later than its first sight here.

    A store may lose a failure, or be unreachable when the failure should be noted. A process that knows of it acts on
    it all the same; otherwise the process would send a refresh token again that may be spent.

    A renewal and a look in the background use it at the same time; each change is one atomic step. Nothing is stored
    here until something differs from what is usual, since there may be thousands of these objects.

    `servers`: those of the store, shared by all of its credentials.
    """

    __slots__ = ("_servers",)

    def __init__(self, servers: Servers | None = None) -> None:
        super().__init__(NOTHING)
        self._servers = servers if servers is not None else Servers()

    def ends(self, lease: Lease, ended: Record, before: Failure | None = None) -> None:
        """Remember how an attempt of this process ended: `ended` is what the record should say from now on.

        `before`: the failure in the record at the claim. If others have failed since, theirs stays the last one, and
        says also what this end says of the refresh token.
        """

        def change(state: _State) -> _State:
            state = state._replace(ended=(*state.ended, (lease, ended))[-MOST:])
            failed = state.failed_at(ended.identity)
            if failed is None or ended.failure is None or not _has_come_since(failed.failure, before, ended):
                return _remembering(state, ended)
            others = tuple(other for other in state.failed if other is not failed)
            earlier = (*failed.earlier, name_of(ended.failure))[-MOST:]
            theirs = failed._replace(failure=knowing(failed.failure, ended.failure), earlier=earlier)
            return state._replace(failed=(*others, theirs))

        self.change(change)

    def retract(self, ended: Record, lease: Lease | None = None) -> None:
        """Forget the failure of `ended`: another attempt may have taken over, so the refusal proves nothing.

        `lease`: another one surely has, and the attempt of this lease did not end in this way.
        """

        def change(state: _State) -> _State:
            others = tuple(one for one in state.ended if lease is None or one[0].id != lease.id)
            name = name_of(ended.failure) if ended.failure is not None else None
            failed = tuple(failed for failed in state.failed if name_of(failed.failure) != name)
            return state._replace(ended=others, failed=failed)

        self.change(change)

    @property
    def know_a_logout(self) -> bool:
        """Whether this process has seen a logout of this credential."""
        return self.state.logged_out is not None

    def sees_a_logout(self, emptied: Record | None) -> None:
        """Remember the emptied record that a logout has left, here or elsewhere; ignore any other record."""
        if emptied is not None and emptied.is_logged_out:
            self.change(lambda state: state._replace(logged_out=emptied))

    def has_ended(self, family: str | None) -> bool:
        """Whether this process has seen a logout of the session of this family; None: of any session."""
        emptied = self.state.logged_out
        return emptied is not None and emptied.moved_to is None and (family is None or family in emptied.families)

    def end_of(self, record: Record, *, knows_a_session: bool) -> Record | None:
        """What `record` should say where the store has gone back behind what this process has seen; else None.

        That is the emptied record, if the record's session was logged out or moved away and this process knows no
        session since. Or it is the known end of the record's attempt, if that was an attempt of this process.
        """
        state, lease = self.state, record.lease
        if state.logged_out is not None and not knows_a_session and succession.is_before(record, state.logged_out):
            return state.logged_out
        ends = (ended for mine, ended in state.ended if lease is not None and mine.id == lease.id)
        ended = next(ends, None)
        return replace(ended, owner=record.owner) if ended is not None else None  # `adopt` may have changed the owner

    def remember(self, record: Record | None) -> None:
        """Remember the last failure in `record`, unless the store has gone back to an earlier one of its generation.

        An attempt of this process that was refused has ended otherwise if `record` shows that others took over.
        """
        if record is not None:
            self.change(lambda state: _remembering(state, record))

    def doubts(self, family: str) -> bool:
        """Whether the failure of its last generation leaves open whether this family's session is over."""
        of_the_family = [failed for failed in self.state.failed if failed.identity[0] == family]
        failed = max(of_the_family, key=lambda failed: failed.identity[1], default=None)
        return failed is not None and failed.failure.is_doubtful and not failed.is_dead

    def recalled(self, record: Record) -> Record:
        """`record` with the failure of this generation that the store has lost, or never received."""
        failed, lease = self.state.failed_at(record.identity), record.lease
        if failed is None or record.token is None or record.state is State.DEAD:
            return record
        if record.failure is not None and name_of(record.failure) not in failed.earlier:
            is_it = name_of(record.failure) == name_of(failed.failure)
            return replace(record, failure=knowing(record.failure, failed.failure)) if is_it else record
        if succession.is_cancelled(failed.failure, record):
            return record
        if not failed.is_dead:
            return replace(record, failure=failed.failure)
        if lease is not None and not lease.is_recovery:
            return replace(record, lease=replace(lease, origin=State.DEAD), failure=failed.failure)
        return replace(record, state=State.DEAD, lease=None, failure=failed.failure)

    def forget_failures(self) -> None:
        """Forget all failures, because a login or `retry()` in this process has cancelled them."""
        self.change(lambda state: state._replace(failed=(), lost=()) if state.failed or state.lost else state)

    def sees(self, now: Instant) -> None:
        """Remember which server answers for this credential now."""
        self._sees(now)

    def _sees(self, now: Instant) -> _State:
        server = self._servers.sees(now)

        def change(state: _State) -> _State:
            before = self._server(state)
            if server is None or before is None or server == before:
                return state
            replaced = (*state.replaced, before)[-MOST:]
            since = now.monotonic if server in state.replaced else NEVER
            return state._replace(server=server, replaced=replaced, since=since)

        return self.change(change)[1]

    def _server(self, state: _State) -> str | None:
        return state.server if state.server is not None else self._servers.first

    def is_unsettled(self, now: Instant, seconds: float, record: Record | None = None) -> bool:
        """Whether this process has known the record's present server for less than `seconds`.

        Until then, processes that know more may not have had the time to restore it. Of the first server that a
        process sees, the record may say that it is not the one on which it was written.
        """
        state = self._sees(now)
        server = self._server(state)
        if server is None:
            return False
        written_on = record.clock_epoch if record is not None else None
        is_another = written_on is not None and written_on != server
        known = self._servers.first_sight(server) if is_another else self._servers.since(server)
        return now.monotonic - max(known, state.since) < seconds

    def is_new(self, identity: tuple[str, int]) -> bool:
        """Whether to report that this token is not refreshed: once for each token."""
        before, _ = self.change(lambda state: state if state.damped == identity else state._replace(damped=identity))
        return before.damped != identity

    def dated(self, record: Record | None, now: Instant, since: float | None = None) -> Record | None:
        """`record` with its dates on this machine's clock: none is later than its first sight, or than the store says.

        After a lost answer, the request may still be at work. So a clock that is ahead, or was set forward, does not
        make this failure older. `since`: when this renewal began to watch the last attempt, on the monotonic clock; a
        failure of this attempt that the process sees for the first time is younger.

        The pause after a lost answer lasts even if other processes, which did not know of it, have failed in another
        way since.
        """
        if record is None or (record.failure is None and record.probation is None):
            return record
        failure, probation, shown = record.failure, record.probation, record

        def change(state: _State) -> _State:
            seen, other = state.failure, state.probation
            if failure is not None and (seen is None or seen.date != failure.at):
                seen = Sight(failure.at, now.wall, now.monotonic, age_of(failure, now, since))
            if probation is not None and (other is None or other.date != probation.at):
                other = Sight(probation.at, now.wall, now.monotonic, max(now.wall - probation.at, 0.0))
            is_known = seen is state.failure and other is state.probation
            if is_known:
                return state
            lost = state.lost if seen is None or seen is state.failure else noting(state.lost, shown, seen)
            return state._replace(failure=seen, probation=other, lost=lost)

        _, state = self.change(change)
        if failure is not None and state.failure is not None:
            at = min(state.failure.latest(now), by_store(failure, now))
            if failure.lost or failure.kind.is_lost:
                at = max(at, state.failure.earliest(now))
            if at != failure.at:
                record = replace(record, failure=replace(failure, at=at))
            record = resting(record, state.lost, now)
        if probation is not None and state.probation is not None:
            at = min(state.probation.latest(now), by_store(probation, now))
            if at < probation.at:
                record = replace(record, probation=replace(probation, at=at))
        return record


def _remembering(state: _State, record: Record) -> _State:
    """`state` with what `record` shows; see `Sightings.remember`."""
    explained = [one for one in state.ended if _has_explained(record, *one)]
    if explained:
        refusals = {name_of(ended.failure) for _, ended in explained if ended.failure is not None}
        state = state._replace(
            ended=tuple(one for one in state.ended if one not in explained),
            failed=tuple(failed for failed in state.failed if name_of(failed.failure) not in refusals),
        )
    failure, failed = record.failure, state.failed_at(record.identity)
    if failure is None:
        return state
    earlier: tuple[object, ...] = ()
    if failed is not None:
        if name_of(failure) in failed.earlier:
            return state
        earlier, is_it = failed.earlier, name_of(failure) == name_of(failed.failure)
        earlier = earlier if is_it else (*earlier, name_of(failed.failure))[-MOST:]
        failure = knowing(failure, failed.failure)
        if failure == failed.failure:
            return state
    others = tuple(other for other in state.failed if other is not failed)
    is_dead = State.DEAD in (record.state, record.lease.origin if record.lease is not None else None)
    new = _Failed(record.identity, failure, is_dead, earlier)
    return state._replace(failed=(*others, new)[-GENERATIONS:])


def _has_come_since(failure: Failure, before: Failure | None, ended: Record) -> bool:
    """Whether `failure` is of another attempt, after the claim that found `before` in the record and has `ended`."""
    return failure.count > (before.count if before is not None else 0) and not succession.is_cancelled(failure, ended)


def _has_explained(record: Record, mine: Lease, ended: Record) -> bool:
    """Whether `record` shows why the attempt of `mine` was refused: others have taken over. `ended`: its end."""
    failure = ended.failure
    if failure is None or failure.kind not in REFUSALS or record.family != ended.family:
        return False
    if record.generation != ended.generation:
        return record.generation > ended.generation
    return succession.has_overtaken(record.lease, mine)
