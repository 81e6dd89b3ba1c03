"""Recovery leases: nothing is sent under them, so that processes with a newer token have time to restore it.

Other processes can restore a token only if they know of the loss. So the loss is noted before the lease begins, and a
process that takes the lease over first makes sure that the note has said so for as long as the lease lasted.

A write may be applied long after the look that led to it: its process is stopped, or its request is late. Meanwhile
others may have restored the record, and the store may have lost it once more. So a recovery lease is written without a
date and without a note, and *begins* with a second write, once the first one is known to be applied. Until then it is
over for nobody who has not watched it for its whole time to live.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import NamedTuple

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.record import RECOVERY, Grant, Lease, Record
from onerefresh.renewal.clocks import Instant, most_age
from onerefresh.renewal.world import NO_NOTE, Loaded, Note, World
from onerefresh.store import Conflict, StoreOutcomeUnknown

__all__ = ["Noted", "Recovery", "Takeover", "begin", "is_begun", "recovery_lease", "write_under"]

MOST_AGAIN = 2
"""How many recovery leases may follow the first one where the loss is not noted."""
LONGEST_COMPARING = 30.0
"""Most seconds that a renewal waits for processes that are still comparing their memory with the store."""
BEAT = 5.0
"""Seconds without a new sign in the note after which a process that was comparing counts as gone."""
SLICE = 1.0
"""Seconds between two reads of the note."""
LATE = 2.0
"""Most seconds from a note to the write after it.

After more, others may have restored what the note named, and the store may have lost it once more.
"""


class Noted(NamedTuple):
    """A note that names the record: its `mark`, and a time `at` which the record was not restored yet."""

    mark: str
    at: Instant


class Recovery(NamedTuple):
    """A recovery lease that has not begun, and the note with which it is to begin."""

    lease: Lease
    noted: Noted


async def recovery_lease(
    world: World, *, contested: bool = False, noted: Noted | None = None, again: int = 0
) -> Recovery | None:
    """Note the loss, then make a lease under which nothing is sent.

    None where no other process can know a newer token. `noted`: a note that names the record already. `again`: as in
    `Lease`.
    """
    seconds = (await world.known()).recovery
    if seconds <= 0.0:
        return None
    if noted is None:
        at = await world.now()
        noted = Noted(await world.report_loss(), at)
    name = f"{RECOVERY}{await world.new_id()}"
    return Recovery(Lease(name, Grant.REFRESH, seconds, contested=contested, guess=True, again=again), noted)


async def write_under(world: World, expected: str | None, record: Record, recovery: Recovery | None) -> None:
    """Write `record`, which has the lease of `recovery`, and let that lease begin. Raises what `World.cas` raises.

    Where the first write was late, the store may have lost since what the note made others restore.
    """
    version = await world.cas(expected, record)
    if recovery is not None:
        is_late = most_age(recovery.noted.at, await world.now()) > LATE
        await begin(world, version, record, None if is_late else recovery.noted.mark)


def is_begun(lease: Lease, now: Instant) -> bool:
    """Whether `lease` is no recovery lease that waits for its date: a store's clock can give it one now."""
    return not lease.is_recovery or lease.clock_epoch is not None or now.shared is None


async def begin(world: World, version: str | None, record: Record, mark: str | None = None) -> None:
    """Date the record's recovery lease, which was read or written in `version`; without `mark`, note the loss anew.

    Its name changes with the note, so that nobody counts the time before. If the write fails, others do the same.
    """
    lease = record.lease
    assert lease is not None
    if mark is None:
        mark, lease = await world.report_loss(), replace(lease, id=f"{RECOVERY}{await world.new_id()}")
    born = (await world.now()).shared
    clock_epoch, at = (born.clock_epoch, born.seconds) if born is not None else (None, 0.0)
    begun = replace(lease, clock_epoch=clock_epoch, at=at, noted=mark)
    with contextlib.suppress(Conflict, StoreOutcomeUnknown, errors.StoreUnavailable):
        await world.cas(version, replace(record, lease=begun))


class Takeover:
    """Decides for one renewal when a recovery lease may be taken over: after all others had time to restore.

    * `has_waited`: whether the last call waited.
    * `free`: the id of the lease that may be taken over.
    * `began`: when this renewal first asked; `unread`: how often the note could not be read.
    * `beats`: the number of each process that is still comparing, and since when this renewal has seen that number, on
      this process's own clock.
    """

    __slots__ = ("beats", "began", "free", "has_waited", "unread", "world")

    def __init__(self, world: World) -> None:
        self.world = world
        self.has_waited = False
        self.free = ""
        self.began: float | None = None
        self.unread = 0
        self.beats: dict[str, tuple[int, float]] = {}

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
        if anew is None or anew.noted.mark == NO_NOTE:
            return False
        with contextlib.suppress(Conflict, StoreOutcomeUnknown):  # the next look at the record decides what follows
            await write_under(self.world, loaded.version, records.claimed(loaded.record, anew.lease, owner=None), anew)
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
