"""Recovery leases: nothing is sent under them, so that processes with a newer token have time to restore it.

Other processes can restore a token only if they know of the loss. So the loss is noted before the lease begins, and a
process that takes the lease over first makes sure that the note has said so for as long as the lease lasted.
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
"""How many recovery leases may follow the first one where the loss is not noted."""
LONGEST_COMPARING = 30.0
"""Most seconds that a renewal waits for processes that are still comparing their memory with the store."""
BEAT = 5.0
"""Seconds without a new sign in the note after which a process that was comparing counts as gone."""
SLICE = 1.0
"""Seconds between two reads of the note."""


async def recovery_lease(
    world: World, *, contested: bool = False, noted: str | None = None, again: int = 0
) -> Lease | None:
    """Note the loss, then make a lease under which nothing is sent.

    None where no other process can know a newer token. `noted`: the mark of a note that names the record already.
    `again`: as in `Lease`.
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
    """Decides for one renewal when a recovery lease may be taken over: after all others had time to restore.

    * `has_waited`: whether the last call waited.
    * `free`: the id of the lease that may be taken over.
    * `began`: when this renewal first asked; `unread`: how often the note could not be read.
    * `beats`: the number of each process that is still comparing, and since when this renewal has seen that number, on
      this process's own clock.
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
                self.free = lease.id  # the record can be read and the note cannot: stop waiting for it
                return True
            await self._wait(loaded, "the store's note of losses cannot be read")
            return False
        if note is not None and not note.still_says(lease.noted) and lease.again < MOST_AGAIN:
            if await self._begun_anew(loaded, lease):
                return False
        elif note is not None and self._is_comparing(note, now) and now - self.began < LONGEST_COMPARING:
            await self._wait(loaded, "other processes are still restoring what the store has lost")
            return False
        self.free = lease.id
        return True

    async def _begun_anew(self, loaded: Loaded, lease: Lease) -> bool:
        """Note the loss and write another recovery lease, since other processes cannot have known of the loss.

        False where nobody can note the loss.
        """
        anew = await recovery_lease(self.world, contested=lease.contested, again=lease.again + 1)
        if anew is None or anew.noted == NO_NOTE:
            return False
        with contextlib.suppress(Conflict, StoreOutcomeUnknown):  # the next look at the record decides what follows
            await self.world.cas(loaded.version, records.claimed(loaded.record, anew, owner=None))
        return True

    def _is_comparing(self, note: Note, now: float) -> bool:
        """Whether a process in the note has given a new sign within the last `BEAT` seconds."""
        for process, beat in note.comparing.items():
            if self.beats.get(process, (None, 0.0))[0] != beat:
                self.beats[process] = (beat, now)
        return any(now - self.beats[process][1] < BEAT for process in note.comparing)

    async def _wait(self, loaded: Loaded, why: str) -> None:
        self.has_waited = True
        await self.world.leave()
        await self.world.watch(loaded.version, SLICE, why)
