"""Promises about how long tokens live: none is handed out at its very end, somebody renews it before that, and none is
asked for with each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.broken import Broken
from tests.simulator.faults import What
from tests.simulator.ideas import Idea

from onerefresh.events import Kind, Reason
from onerefresh.policy import BUDGET_TIME, EARLY_REFRESHES, half_life, thresholds

if TYPE_CHECKING:
    from tests.simulator.process import Process
    from tests.simulator.tasks import Task
    from tests.simulator.world import World

    from onerefresh.events import Event
    from onerefresh.record import Record
    from onerefresh.token import Token

__all__ = ["Ageing"]

LEAST, LEAST_SHARE = 2.0, 0.2
"""What must be left of the life of a token that is handed out: seconds, or a share of it where that is less."""
TRAVEL = 0.1
"""Seconds between a decision and its caller."""
JUST_NOW = 1.0
"""Seconds within which all who wait for a new token have it."""
VISITS, A_RENEWAL = 3, 2.0
"""So many must have come by, and so many seconds before the end: one of them should have renewed it."""
_HARMLESS = frozenset({What.REVOKED})
_FORGET = frozenset(
    {
        What.LOGIN,
        What.LOGOUT,
        What.SAME_LOGIN,
        What.WIPED,
        What.REBOOT,
        What.STORE_CLOCK_SET,
        What.FAILOVER,
        What.EMPTY_FAILOVER,
        What.FORK,
    }
)
"""What begins the count of refreshes anew, or makes clocks that do not compare."""


class Ageing:
    """The tokens of one run at the end of their lives."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._customers: set[Process] = set()
        self._visits: dict[tuple[str, int], list[float]] = {}
        self._sees: dict[tuple[Process, float], float] = {}  # since when each has asked while there was a failure
        self._refreshed_at: float | None = None
        self._begun_at: float | None = None
        self._early: list[float] = []

    def arrives(self, token: Token, at: float) -> None:
        """A new token is here; `at`: by the clock of who gets it."""
        ends_at = thresholds(token, 1.0).unusable_at
        if self._world.scenario.watches(Idea.ONCE) and ends_at <= at:
            raise Broken("a new token serves when it comes", f"it was over for {at - ends_at:.2f} s")

    def refreshed(self, before: Record | None, after: Record, begun: float | None) -> None:
        """A new generation was committed: how many came early, less than half a token's life after the one before?"""
        world, last = self._world, self._begun_at
        self._refreshed_at = world.timeline.now
        self._begun_at = now = self._refreshed_at if begun is None else begun
        if before is None or before.token is None or last is None or not world.scenario.watches(Idea.ONCE):
            return
        is_useless = after.failure is not None  # it has a pause of its own
        if now - last < half_life(before.token) - TRAVEL and not is_useless:
            self._early = [*(at for at in self._early if now - at < BUDGET_TIME - TRAVEL), now]
        if not world.scenario.has_clock or world.scenario.host_saves:  # each process has a record of its own there
            return
        if world.clocks_were_set or world.judge.unordered or world.judge.happened_kinds & _FORGET:
            return
        if len(self._early) > EARLY_REFRESHES + bool(world.judge.struck_faults):
            raise Broken("an API that refuses each token costs few refreshes", f"{len(self._early)} came early")

    def handed_out(self, process: Process, token: Token, *, refused: bool) -> None:
        """A caller was given a token. `refused`: after the API had refused one.

        That is no visit: whoever asks so has asked before, and began the renewal then if the token aged. He may have
        waited since, and is given the same token where its refusal is damped.
        """
        scenario = self._world.scenario
        if token.expires_at is None or self._world.judge.struck_faults or self._world.clocks_were_set:
            return  # it may have been decided a while ago, by another clock
        if self._refreshed_at is not None and self._world.timeline.now - self._refreshed_at < JUST_NOW:
            return  # whoever has waited for it gets it, whatever its own clock says
        if not self._world.tells_its_clock(process, token):
            return
        now = process.host.clock.time() - self._world.skew_for(process.host, token)
        left, life = token.expires_at - now, token.expires_at - token.issued_at
        if scenario.watches(Idea.LAST_SECONDS) and left < min(LEAST, life * LEAST_SHARE) - TRAVEL:
            raise Broken(
                "no token is handed out in its last seconds",
                f"{process.name} was given generation {token.generation}, of whose {life:.0f} s {left:.2f} are left",
            )
        record = self._world.store.record
        is_free = record is not None and record.lease is None and not self._must_rest(process, record)
        if is_free and not refused and process in self._customers and now >= thresholds(token, 1.0).refresh_at:
            self._visits.setdefault(token.identity, []).append(self._world.timeline.now)
        self._customers.add(process)  # who asks for the first time has it from the store, and may know no better

    def _must_rest(self, process: Process, record: Record) -> bool:
        """Whether the token endpoint is to be left alone: for the whole pause since this process has known of it.

        The clock of whoever noted a failure may be ahead, so that its date tells others nothing.
        """
        if record.failure is None:
            return False
        now = self._world.timeline.now
        return now - self._sees.setdefault((process, record.failure.at), now) <= record.failure.delay

    def _now(self, process: Process, token: Token) -> float:
        """The time on the process's own clock, by the clock by which the token is dated."""
        return process.host.clock.time() - self._world.skew_for(process.host, token)

    def told(self, task: Task, event: Event) -> None:
        """A claim was made: not to renew a token that is fresh by its server's clock, whatever this machine's says."""
        world = self._world
        token = world.store.record.token if world.store.record is not None else None
        if event.kind is not Kind.CLAIMED or event.facts.reason not in (Reason.EXPIRED, Reason.AGEING):
            return
        if token is None or token.generation != event.generation:  # it was claimed before its machine slept
            return
        if not world.skew_for(task.process.host, token):
            return
        fresh_for = thresholds(token, 0.0).refresh_at - self._now(task.process, token)
        if fresh_for > TRAVEL and world.tells_its_clock(task.process, token):
            raise Broken(
                "a machine whose clock is off refreshes no fresh token",
                f"{task} refreshes generation {token.generation}, which is fresh for {fresh_for:.1f} s",
            )

    def sends(self, task: Task, token: Token | None) -> None:
        """Whether it is renewed only now that it is unusable, although some had it while it aged."""
        scenario, judge = self._world.scenario, self._world.judge
        if token is None or not scenario.watches(Idea.VISITORS) or len(set(scenario.skews)) > 1:
            return
        if judge.struck_faults or judge.happened_kinds - _HARMLESS or scenario.wrong_client:
            return
        visits = [at for at in self._visits.get(token.identity, ()) if at < self._world.timeline.now - A_RENEWAL]
        if len(visits) >= VISITS and self._now(task.process, token) >= thresholds(token, 0.0).unusable_at:
            raise Broken(
                "somebody renews an ageing token before it is unusable",
                f"generation {token.generation} was used {len(visits)} times while it aged",
            )
