"""Restoring into a store what it has lost: first what others have noted, several credentials at a time.

A copy that another process has restored is sent when its recovery lease is over. So a process that is still comparing
its memory with the store says so in the note, and the others wait for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from onerefresh import errors
from onerefresh.chance import CHANCE
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.registry import known_of
from onerefresh.limited_log import log_exception
from onerefresh.loss_reports import reports
from onerefresh.losses import Losses, compares, digest, read_losses
from onerefresh.policy import HTTP_TIMEOUT
from onerefresh.profile import profile_named
from onerefresh.real_time import monotonic
from onerefresh.record import Record
from onerefresh.renewal.bring_back import bring_back, has_lost
from onerefresh.renewal.clocks import Instant, Sent
from onerefresh.renewal.known import Known
from onerefresh.renewal.recovery_lease import Noted
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.world import World
from onerefresh.run import Resumable, Run
from onerefresh.runner import Runner
from onerefresh.store import Store, StoreTime
from onerefresh.tasks import run_here
from onerefresh.this_process import machine
from onerefresh.threads import start
from onerefresh.token import Token
from onerefresh.user_code import Functions, sends_nothing

__all__ = ["Bringing", "has_gone", "issued", "now"]

BATCH = 50
"""Credentials that are compared before the note is read again."""
AT_ONCE = 8
"""How many of them are compared at the same time."""
REST = 0.02
"""Most seconds between two batches."""
FIRST_REST = 0.3
"""Most seconds until the first batch. The processes of a fleet notice a loss at about the same time."""
BEAT = 1.5
"""Seconds between two signs in the note that this process is still comparing."""


class Bringing:
    """One comparison of `memories`, which are given by key, with the store.

    * `named`: the keys whose loss the note has named since the last look.
    * `losses`: what the note says; `read_at`: a time right before it was read.
    * `goes_on`: whether to go on; the store closes otherwise.
    * `silent`: the processes named in the note that seem to have died.
    """

    def __init__(
        self,
        store: Store,
        memories: dict[str, SessionMemory],
        named: set[str],
        losses: Losses,
        goes_on: Callable[[], bool],
        *,
        read_at: Instant,
        silent: frozenset[str] = frozenset(),
    ) -> None:
        self.named, self.losses, self._read_at = named, losses, read_at
        self._store, self._shareds, self._goes_on = store, memories, goes_on
        self._silent = silent
        self._failed: set[str] = set()
        self._process = secrets.token_hex(4)
        self._is_announced, self._beat_at = False, monotonic()

    def run(self) -> set[str]:
        """Compare everything and restore what is lost; return the keys for which that failed."""
        left = list(self._shareds)
        CHANCE.shuffle(left)
        self._beat(many=len(left) > BATCH)
        if left:
            time.sleep(CHANCE.uniform(0.0, FIRST_REST))
        try:
            while True:
                if not left or not self._goes_on():
                    break
                left.sort(key=lambda key: key not in self.named)
                batch, left = left[:BATCH], left[BATCH:]
                self._compare(batch)
                if left:
                    self._read()
                time.sleep(CHANCE.uniform(0.0, REST))
        finally:
            if self._is_announced and self._goes_on():  # else the store is closing
                compares(self._store, self._process, over=True, silent=self._silent)
        return self._failed | set(left)

    def _compare(self, batch: list[str]) -> None:
        """Compare one batch, note losses that the note does not name yet, then restore them."""
        lost = [key for key in batch if key in self.named]
        lost += self._of([key for key in batch if key not in self.named], has_gone)
        fresh, at = [key for key in lost if key not in self.named], now()
        noted = Noted(reports.report(self._store, fresh) if fresh else "", at)
        marks = dict.fromkeys(fresh, noted)
        known = Noted(self.losses.mark, self._read_at)
        self._of(lost, lambda memory: _is_back(memory, marks.get(memory.key, known)))

    def _of(self, keys: list[str], work: Callable[[SessionMemory], bool | None]) -> list[str]:
        """The keys for which `work` returns True, several at a time. Where it returns None, it has failed."""
        left, done = deque(keys), deque[str]()

        def some() -> None:
            with contextlib.suppress(IndexError):  # another thread has taken the last one
                while left and self._goes_on():
                    key = left.popleft()
                    found = work(self._shareds[key])
                    if found is None:
                        self._failed.add(key)
                    elif found:
                        done.append(key)
                    self._beat()

        jobs = []
        with contextlib.suppress(RuntimeError):  # no thread to spare: this one does all the work
            for _ in range(min(len(keys), AT_ONCE) - 1):
                jobs.append(start(some, "onerefresh watch", daemon=True))  # noqa: PERF401 - those that could start
        some()
        for job in jobs:
            job.over.wait()
        self._failed.update(left)
        return list(done)

    def _beat(self, *, many: bool = False) -> None:
        """Say in the note that this process is still comparing, where that takes a while."""
        at = monotonic()
        if many or at - self._beat_at >= BEAT:
            self._is_announced, self._beat_at = True, at
            compares(self._store, self._process, over=False, silent=self._silent)

    def _read(self) -> None:
        """Read which losses other processes have noted meanwhile."""
        at = now()
        try:
            losses = read_losses(self._store)
        except Exception:  # noqa: BLE001 - the next look reads the note again
            return
        names = losses.named_since(self.losses)
        self.named |= {key for key in self._shareds if digest(key) in names} if names else set()
        self.losses, self._read_at = losses, at


def issued(memory: SessionMemory) -> float:
    """When the memory's token was issued, in seconds since the epoch; 0 where none is known."""
    return memory.known.issued_at if memory.known is not None else 0.0


def has_gone(memory: SessionMemory) -> bool | None:
    """Whether the store has lost what this process knows; None where that cannot be found out now."""
    return _performed(memory, lambda world: has_lost(world, _request(memory)))


def now(moment: StoreTime | None = None) -> Instant:
    """The time; `moment`: by the store's clock, where that is of interest."""
    return Instant(time.time(), monotonic(), moment, 0.0)


def _is_back(memory: SessionMemory, noted: Noted) -> bool | None:
    """Restore what the store has lost; whether it had lost anything, or None where that failed."""
    return _performed(memory, lambda world: bring_back(world, _request(memory), noted))


def _request(memory: SessionMemory) -> RenewalRequest:
    """The request of a look, which sends nothing."""
    return RenewalRequest(
        key=memory.key,
        profile=profile_named("strict"),
        http_timeout=HTTP_TIMEOUT,
        jitter=memory.jitter,
        seed=memory.seed,
        can_revoke=False,
        owner=memory.owner,
        sightings=memory.sightings,
        process=(machine(), os.getpid()),
        skew=memory.timing.skew,
    )


class _Comparison(Run):
    """The run of a look in the background. It sends nothing, and no caller waits for it."""

    has_waiters = False

    def __init__(self, memory: SessionMemory) -> None:
        self._memory = memory

    def tokens(self) -> Iterable[Token | None]:
        return self._memory.known, self._memory.unsaved

    def known(self) -> Known:
        return known_of(self._memory)

    def learn(self, record: Record, skew: float) -> None:
        """Do nothing: a comparison finds no newer token."""

    def is_under_way(self, identity: tuple[str, int]) -> bool:
        return False

    def report(self, phase: str) -> None:
        """Do nothing: no caller asks how far it is."""

    def deliver(self, answer: object, unsaved: Token | None = None) -> None:
        """Do nothing: no caller waits."""

    def defer(self, world: Resumable, rest: Coroutine[Any, Any, None]) -> None:
        rest.close()  # the next look comes anyway

    def sending(self, ttl: float, claim: Sent | None) -> contextlib.AbstractContextManager[object]:
        raise NotImplementedError


def _performed(memory: SessionMemory, looking: Callable[[World], Coroutine[Any, Any, bool]]) -> bool | None:
    """Perform a comparison; None where the store cannot be used now, or raises anything else."""
    try:
        return run_here(Runner(memory.key, memory.store, _Comparison(memory), Functions(sends_nothing)).run(looking))
    except errors.OnerefreshError:
        return None
    except Exception:  # noqa: BLE001 - an exception of one store must not end the looks
        log_exception("checking whether a store has lost its record failed")
        return None
