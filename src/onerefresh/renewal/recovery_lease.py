"""Recovery leases: nothing is sent under them, so that processes that know a newer token have time to bring it back.

Others can bring it back only if they know of the loss. So it is noted before the lease begins, and a process that takes
a lease over makes sure that the note has said so for as long as the lease lasted.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.record import RECOVERY, Grant, Lease
from onerefresh.renewal.world import NO_NOTE, Loaded, Note, World
from onerefresh.store import Conflict, StoreOutcomeUnknown

__all__ = ["Takeover", "recovery_lease"]

MOST_AGAIN = 2
"""So many recovery leases follow the first one at most, where the loss cannot be noted."""
LONGEST_COMPARING = 30.0
"""Seconds at most for which a renewal waits for those who are still comparing: no caller waits longer by default."""
BEAT = 5.0
"""Seconds after which a process that was comparing, and has said nothing more, is taken for gone."""
SLICE = 1.0
"""Seconds between two looks at the note."""


async def recovery_lease(
    world: World, *, contested: bool = False, noted: str | None = None, again: int = 0
) -> Lease | None:
    """A lease under which nothing is sent, once the loss is noted; None where nobody else can know a newer token.

    `noted`: the mark of the note that names the record already. `again`: as in `Lease`.
    """
    seconds = (await world.known()).recovery
    if seconds <= 0.0:
        return None
    if noted is None:
        noted = await world.report_loss()
    born = (await world.now()).shared
    return Lease(
        id=f"{RECOVERY}{await world.new_id()}",
        grant=Grant.REFRESH,
        ttl=seconds,
        clock_epoch=born.clock_epoch if born else None,
        at=born.seconds if born else 0.0,
        contested=contested,
        guess=True,
        noted=noted,
        again=again,
    )


@dataclass(slots=True)
class Takeover:
    """This renewal's way to take recovery leases over: not before all who know more had their time.

    `free`: the lease that may be taken over. `beats`: how far each process was that is still comparing, and since when,
    by this process's own clock. `has_waited`: whether the last call took its time.
    """

    world: World
    has_waited: bool = False
    free: str = ""
    began: float | None = None
    unread: int = 0
    beats: dict[str, tuple[int, float]] = field(default_factory=dict)

    async def is_due(self, loaded: Loaded, lease: Lease) -> bool:
        """Whether `lease`, which is over, may be taken over; False: look at the record again."""
        self.has_waited = False
        if lease.id == self.free:
            return True
        now = (await self.world.now()).monotonic
        self.began = now if self.began is None else self.began
        try:
            note = await self.world.read_note()
        except errors.StoreUnavailable:
            self.unread += 1
            if self.unread > MOST_AGAIN:
                self.free = lease.id  # the record can be read, and the note cannot
                return True
            await self._wait(loaded, "the store's note of losses cannot be read")
            return False
        if note is not None and not note.still_says(lease.noted) and lease.again < MOST_AGAIN:
            if await self._begun_anew(loaded, lease):
                return False
        elif note is not None and self._is_comparing(note, now) and now - self.began < LONGEST_COMPARING:
            await self._wait(loaded, "other processes are still bringing back what the store has lost")
            return False
        self.free = lease.id
        return True

    async def _begun_anew(self, loaded: Loaded, lease: Lease) -> bool:
        """Note the loss, and begin another lease, since others cannot have known; False where nobody can note it."""
        anew = await recovery_lease(self.world, contested=lease.contested, again=lease.again + 1)
        if anew is None or anew.noted == NO_NOTE:
            return False
        with contextlib.suppress(Conflict, StoreOutcomeUnknown):  # the record says what follows
            await self.world.cas(loaded.version, records.claimed(loaded.record, anew, owner=None))
        return True

    def _is_comparing(self, note: Note, now: float) -> bool:
        for process, beat in note.comparing.items():
            if self.beats.get(process, (None, 0.0))[0] != beat:
                self.beats[process] = (beat, now)
        return any(now - self.beats[process][1] < BEAT for process in note.comparing)

    async def _wait(self, loaded: Loaded, why: str) -> None:
        self.has_waited = True
        await self.world.leave()
        await self.world.watch(loaded.version, SLICE, why)
