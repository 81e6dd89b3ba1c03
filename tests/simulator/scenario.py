"""What a seed stands for: a server, a store, some processes on some hosts, their callers, and what goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from tests.simulator.faults import (
    OF_A_STORE,
    PLANS,
    SAVING_PLANS,
    UNHEARD,
    Fault,
    Happening,
    Point,
    What,
    draw_fault,
)
from tests.simulator.ideas import LANDED, Idea, with_idea
from tests.simulator.server import Kind, Manner

from onerefresh.profile import Profile

__all__ = ["HTTP_TIMEOUT", "Scenario"]

HTTP_TIMEOUT = 10.0
LANDED_SHARE = 0.05
"""How many of the ordinary seeds have each idea of `LANDED`."""
RECORDS_VANISH = True
"""Whether stores may lose a record altogether, too."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run, before it runs.

    `duration`: seconds in which faults strike and callers call. `has_clock`: the store has a clock of its own.
    `has_flock`: each host's kernel can prove a death. `may_go_back`: the store may forget writes it acknowledged.
    `skews`: how far each host's wall clock is off, in seconds. `obtains`: a session can be had without a person.
    `lonely`: in the end one host alone is left to ask. `host_saves`: one process at a time, whose store is its memory,
    and which gives each new token to its host to save. `head_start`: seconds that who refreshed last has before others.
    `ideas`: what was added for them is drawn, and their promises are watched, beside those of `LANDED`. `insists`: how
    often a caller asks again at once after an error. `wrong_client`: the first process is deployed with one, which the
    token endpoint answers without a proof. `never_resends`: a lost answer is not asked for again.
    `old_record`: what an earlier version has left in the store: ``"idle"``, ``"leased"``, ``"failed"``, or nothing.
    `paths`: what the callers call, and one more caller for each but the first; none: they do not say what they call.
    `visited_every`: seconds between short-lived processes, which make a few calls and end (0: there are none).
    `states_dates`: the token endpoint's answers have a date, which shows whose clock is off.
    """

    seed: int
    manner: Manner
    profile: Profile
    hosts: int
    processes: int
    callers: int
    calls: int
    duration: float
    has_clock: bool
    has_flock: bool
    may_go_back: bool
    skews: tuple[float, ...]
    obtains: bool
    lonely: bool
    faults: tuple[Fault, ...]
    happenings: tuple[Happening, ...]
    host_saves: bool = False
    head_start: float = 0.0
    ideas: frozenset[Idea] = frozenset()
    insists: int = 0
    wrong_client: bool = False
    never_resends: bool = False
    visited_every: float = 0.0
    old_record: str = ""
    paths: tuple[str, ...] = ()
    states_dates: bool = False

    @classmethod
    def of(
        cls, seed: int, *, plan: str | None = None, kind: Kind | None = None, idea: Idea | None = None, **fixed: Any
    ) -> Scenario:
        """The scenario of a seed. `plan` (a name in `PLANS`), `kind` and other fields may be fixed beforehand.

        `idea`: the scenario is shaped for this one.
        """
        rng = random.Random(seed)
        hosts = rng.choice((1, 1, 1, 2, 2, 3))
        manner, profile = _server(rng, kind)
        single = hosts == 1
        duration = rng.uniform(20.0, 90.0)
        faults = _faults(rng, plan)
        may_go_back = any(fault.what is What.ROLLBACK for fault in faults) or (not faults and rng.random() < 0.1)
        found = cls(
            seed=seed,
            manner=manner,
            profile=profile,
            hosts=hosts,
            processes=hosts + rng.randrange(1, 4),
            callers=rng.randrange(1, 4),
            calls=rng.randrange(3, 8),
            duration=duration,
            has_clock=single or rng.random() < 0.6,
            has_flock=single or rng.random() < 0.3,
            may_go_back=may_go_back,
            skews=tuple(0.0 if single else rng.choice((0.0, 0.3, -2.0, 20.0, -90.0, 3600.0)) for _ in range(hosts)),
            obtains=rng.random() < 0.07,
            lonely=hosts > 1 and rng.random() < 0.3,
            faults=faults,
            happenings=_happenings(rng, duration, calm=not faults, single=single, planned=plan is not None),
        )
        found = _with_later_ideas(found, random.Random(f"{seed} later ideas"), plan, fixed)
        if idea is not None:
            found = with_idea(found, idea, alone=True)
        return replace(found, **fixed) if fixed else found

    @classmethod
    def mixed(cls, seed: int) -> Scenario:
        """The scenario of a seed, with some of the ideas in `LANDED`: what thousands of runs are made of.

        That of `of` is the same for ever, whatever is thought of later.
        """
        found = cls.of(seed)
        for idea in sorted(LANDED):
            if random.Random(f"{seed} whether {idea}").random() < LANDED_SHARE:
                found = with_idea(found, idea, alone=False)
        return replace(found, states_dates=random.Random(f"{seed} states dates").random() < 0.5)

    def watches(self, idea: Idea) -> bool:
        """Whether the promises of `idea` are watched."""
        return idea in LANDED or idea in self.ideas

    @property
    def look_every(self) -> float:
        """Seconds between two looks of a process at the store, in the background."""
        return 2.5 if self.may_go_back else 10.0

    @property
    def brought_back_within(self) -> float:
        """Seconds in which a process that runs must have brought back what the store has lost: more than two looks."""
        return 12.0 if self.may_go_back else 30.0

    def __str__(self) -> str:
        manner = self.manner
        server = f"{manner.kind} server"
        if manner.kind is Kind.GRACE:
            server += f" ({manner.grace:.0f} s{', siblings' if manner.siblings else ''})"
        store = [
            "with a clock" if self.has_clock else "without a clock",
            "flock" if self.has_flock else "no flock",
            *(["may go back"] if self.may_go_back else []),
            *([f"a head start of {self.head_start:g} s"] if self.head_start else []),
        ]
        if self.host_saves:
            store = ["in memory, the host saves"]
        lines = [
            f"seed {self.seed}: {server}, access tokens for {manner.expires_in or 'ever (untold)'} s, "
            f"profile {self.profile.name}",
            f"  {self.processes} processes on {self.hosts} hosts, {self.callers} callers each; "
            f"store {', '.join(store)}; wall clocks off by {', '.join(f'{skew:g}' for skew in self.skews)} s",
        ]
        lines += ["  its answers have a date"] if self.states_dates else []
        lines += [f"  fault: {fault}" for fault in self.faults]
        lines += [f"  event: {happening}" for happening in self.happenings]
        return "\n".join(lines)


def _with_later_ideas(found: Scenario, rng: random.Random, plan: str | None, fixed: dict[str, Any]) -> Scenario:
    """What was thought of later is drawn by itself, so that the seeds without it are what they were."""
    if fixed.get("host_saves", plan in SAVING_PLANS or (plan is None and "hosts" not in fixed and rng.random() < 0.12)):
        found = _saved_by_the_host(found, rng, plan)
    happenings = []
    if plan is None and rng.random() < 0.1:
        step = rng.choice((-3600.0, -90.0, -3.0, 3.0, 90.0, 3600.0))
        happenings.append(Happening(What.CLOCK_SET, rng.uniform(1.0, found.duration), step))
    if plan is None and rng.random() < 0.06 and RECORDS_VANISH and not found.host_saves:
        happenings.append(Happening(What.VANISHED, rng.uniform(1.0, found.duration)))
    faults = found.faults
    if plan is None and rng.random() < 0.05:
        begin, apart = rng.uniform(1.0, found.duration), rng.choice((0.01, 1.0, 10.0))
        happenings += [
            Happening(rng.choice((What.LOGIN, What.LOGOUT)), min(begin + rng.uniform(0.0, apart), found.duration))
            for _ in range(rng.randrange(2, 5))
        ]
        faults += tuple(draw_fault(rng, rng.choice(UNHEARD), Point.RELEASE) for _ in range(rng.randrange(3)))
    if plan is None and rng.random() < 0.05 and not found.host_saves:
        faults += tuple(draw_fault(rng, what, point) for what, point in PLANS["store down at the commit, then a crash"])
        happenings.append(Happening(rng.choice((What.LOGIN, What.LOGOUT)), rng.uniform(1.0, found.duration)))
    head_start = rng.choice((0.0, 0.0, 0.04, 2.0)) if plan is None and not found.host_saves else 0.0
    return replace(found, faults=faults, happenings=(*found.happenings, *happenings), head_start=head_start)


def _saved_by_the_host(found: Scenario, rng: random.Random, plan: str | None) -> Scenario:
    faults = tuple(fault for fault in found.faults if fault.what not in OF_A_STORE)
    if plan is None and rng.random() < 0.3:
        faults += (draw_fault(rng, point=Point.SAVE),)
    elif plan is None and rng.random() < 0.4:
        faults += tuple(draw_fault(rng, what, point) for what, point in rng.choice(list(SAVING_PLANS.values())))
    return replace(
        found,
        host_saves=True,
        hosts=1,
        processes=1,
        skews=(0.0,),
        has_clock=True,
        has_flock=False,
        may_go_back=False,
        lonely=False,
        faults=faults,
        happenings=tuple(happening for happening in found.happenings if happening.what not in OF_A_STORE),
    )


def _server(rng: random.Random, kind: Kind | None) -> tuple[Manner, Profile]:
    kind = kind or rng.choice((Kind.STATIC, Kind.GRACE, Kind.GRACE, Kind.REJECT_ONLY, Kind.REVOKE_FAMILY))
    grace = rng.choice((15.0, 30.0, 30.0, 60.0, 600.0)) if kind is Kind.GRACE else 0.0
    manner = Manner(
        kind=kind,
        grace=grace,
        siblings=rng.random() < 0.3,
        forgiving=rng.random() < 0.4,
        old_access_dies=rng.random() < 0.4,
        expires_in=rng.choice((8.0, 30.0, 60.0, 60.0, 300.0, 3600.0, None)),
        repeats=rng.random() < 0.5,
    )
    if kind is Kind.GRACE:
        return manner, Profile(f"grace:{grace:.0f}", grace=grace)
    if kind is Kind.STATIC and rng.random() < 0.5:
        return manner, Profile("static", rotates=False)
    return manner, Profile("strict")


def _faults(rng: random.Random, plan: str | None) -> tuple[Fault, ...]:
    if plan is None and rng.random() < 0.3:
        plan = rng.choice(list(PLANS))
    if plan is not None:
        return tuple(draw_fault(rng, what, point) for what, point in (PLANS | SAVING_PLANS)[plan])
    count = rng.choice((0, 1, 1, 1, 2, 2, 3))
    return tuple(draw_fault(rng) for _ in range(count))


def _happenings(
    rng: random.Random, duration: float, *, calm: bool, single: bool, planned: bool
) -> tuple[Happening, ...]:
    found = [Happening(What.REVOKED, rng.uniform(2.0, duration)) for _ in range(rng.choice((1, 1, 1, 2)))]
    if rng.random() < 0.15:
        found.append(Happening(What.LOGIN, rng.uniform(1.0, duration)))
    if planned:
        return tuple(found)
    if rng.random() < 0.06:
        found.append(Happening(What.LOGOUT, rng.uniform(1.0, duration)))
    if rng.random() < 0.08:
        found.append(Happening(What.OUTAGE, rng.uniform(0.0, duration), rng.choice((3.0, 12.0, 60.0))))
    if rng.random() < 0.04:
        found.append(Happening(What.SESSION_ENDED, rng.uniform(1.0, duration)))
    if rng.random() < 0.05:
        found.append(Happening(What.BAD_API, rng.uniform(0.0, duration / 2), rng.uniform(10.0, 60.0)))
    if rng.random() < 0.04:
        found.append(Happening(What.WIPED, rng.uniform(1.0, duration)))
    if single and not calm and rng.random() < 0.05:
        found.append(Happening(What.REBOOT, rng.uniform(1.0, duration)))
    return tuple(found)
