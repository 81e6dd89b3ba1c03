"""What the model was blind to, idea by idea: each is drawn by itself, and brings promises that are watched with it."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.simulator.faults import OF_A_STORE, Fault, Happening, Point, What, draw_fault
from tests.simulator.server import BAD, FLAPS, GOOD, Kind

from onerefresh.profile import Profile

if TYPE_CHECKING:
    from tests.simulator.scenario import Scenario

__all__ = ["LANDED", "Idea", "with_idea"]


class Idea(enum.StrEnum):
    """What one of them is about."""

    LOST_STORE = "a store is emptied or goes back, and some know more than others"
    UNSAVED = "an answer that can be saved nowhere for long"
    DOUBTFUL = "a refusal that proves nothing"
    REPEATED = "a server that repeats an older answer"
    VISITORS = "processes that live for a moment"
    LAST_SECONDS = "tokens at the very end of their lives"
    FORKS = "a process forks, and both know the same"
    OLD_RECORDS = "a record that an earlier version has left"
    OLD_ROWS = "two processes log in with one old token"
    STORE_CLOCKS = "the store's clock is set"
    RESEND = "a lost answer that must not be asked for again"
    USELESS = "an answer with an access token that no header can carry"
    FOUNDED_LATE = "a lost record that is restored late, and lost once more before that"
    BAD_TARGET = "one target of an API that refuses every token, beside good ones"
    STRANGERS = "an answer that belongs to another account"
    ONCE = "an API that takes each token once, and answers that are slow"


LANDED: frozenset[Idea] = frozenset(Idea)
"""Those whose promises the protocol keeps: ordinary seeds draw them too, and their promises are watched in every run.

The others are drawn and watched only where a scenario asks for them.
"""


NEVER_RESENDS: dict[str, Any] = {"resend": "never"}
"""The fields of a `Profile` that say so."""


def with_idea(found: Scenario, idea: Idea, *, alone: bool) -> Scenario:
    """The scenario with the idea in it. `alone`: reshaped for it, so that most seeds come to the point."""
    drawn = _DRAWN[idea](found, random.Random(f"{found.seed} {idea}"), alone)
    if any(fault.what is What.ROLLBACK for fault in drawn.faults):
        drawn = replace(drawn, may_go_back=True)
    return replace(drawn, ideas=drawn.ideas | {idea})


def _sometimes(found: Scenario, rng: random.Random) -> tuple[Fault, ...]:
    """One fault of the others, now and then: none of a store where that is the memory of one process."""
    fault = draw_fault(rng) if rng.random() < 0.3 else None
    return () if fault is None or (found.host_saves and fault.what in OF_A_STORE) else (fault,)


def _lost_store(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """Processes that ask rarely, so that they know different generations when the store loses the newest."""
    if found.host_saves:
        return found
    if alone:
        found = replace(
            found,
            manner=replace(found.manner, expires_in=rng.choice((20.0, 60.0, 300.0, 3600.0))),
            callers=rng.choice((1, 1, 2)),
            calls=rng.randrange(1, 5),
            duration=rng.uniform(40.0, 120.0),
            may_go_back=rng.random() < 0.6,
            faults=_sometimes(found, rng),
            happenings=(Happening(What.REVOKED, rng.uniform(2.0, 15.0)),),
            lonely=False,
        )
    found = replace(found, insists=rng.choice((0, 0, 2)))
    lost = [_loss(found, rng) for _ in range(rng.choice((1, 1, 1, 2)))]
    if rng.random() < 0.5:
        lost.append(Happening(What.REVOKED, rng.uniform(lost[0].at, found.duration)))
    if rng.random() < 0.2:
        found = replace(
            found, faults=(*found.faults, Fault(What.NOTE_FAILS, Point.NOTE, seconds=rng.uniform(0.0, 8.0)))
        )
    return replace(found, happenings=(*found.happenings, *lost))


def _loss(found: Scenario, rng: random.Random) -> Happening:
    at = rng.uniform(5.0, max(found.duration * 0.8, 6.0))
    if found.may_go_back:
        what = rng.choice((What.VANISHED, What.EMPTY_FAILOVER, What.FAILOVER, What.FAILOVER))
        return Happening(what, at, rng.choice((1.0, 5.0, 20.0)) if what is What.FAILOVER else 0.0)
    what = rng.choice((What.VANISHED, What.RESTORED))
    return Happening(what, at, rng.choice((5.0, 20.0, 60.0)) if what is What.RESTORED else 0.0)


def _unsaved(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """The store is down at a commit, the spool cannot be written, and callers ask again at once."""
    if found.host_saves:
        return found
    down = rng.choice((3.0, 10.0, 20.0, 45.0, 100.0)) * rng.uniform(0.8, 1.2)
    what = rng.choice((What.DOWN_THEN_EMPTY, What.DOWN_THEN_EMPTY, What.STORE_DOWN))
    nth = rng.choice((1, 1, 2))
    faults = (
        Fault(what, Point.COMMIT, nth, down),
        Fault(What.SPOOL_FAILS, Point.WRITE_SPOOL, 1, down + rng.choice((5.0, 60.0, 600.0))),
    )
    if alone:
        found = replace(
            found,
            manner=replace(found.manner, expires_in=rng.choice((20.0, 60.0, 300.0))),
            callers=rng.randrange(1, 5),
            calls=rng.randrange(5, 20),
            duration=down + rng.uniform(20.0, 50.0),
            faults=(),
            happenings=(Happening(What.REVOKED, rng.uniform(2.0, 15.0)),),
            lonely=False,
        )
    return replace(found, faults=(*found.faults, *faults), insists=rng.choice((0, 2, 5)))


def _doubtful(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """The token endpoint refuses without a proof: once, for a while, or the first process until it is mended."""
    if alone:
        found = replace(
            found,
            faults=_sometimes(found, rng),
            happenings=(Happening(What.REVOKED, rng.uniform(2.0, 15.0)),),
            lonely=False,
        )
    how = rng.choice(("once", "for a while", "for a while", "in one process"))
    if how == "once":
        return replace(found, faults=(*found.faults, Fault(What.DOUBTFUL, Point.SEND, rng.choice((1, 1, 2, 3)))))
    if how == "in one process":
        return replace(found, wrong_client=True)
    begin = rng.uniform(0.0, found.duration / 2)
    lasts = Happening(What.DOUBTFUL, begin, rng.choice((2.0, 20.0, 60.0, 200.0)))
    return replace(found, happenings=(*found.happenings, lasts))


def _repeated(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """A grace server that answers a second use with the first answer, whose access token may be useless by then."""
    if not alone:
        return replace(found, manner=replace(found.manner, same_answer=True))
    grace = rng.choice((60.0, 600.0))
    kind = Kind.GRACE
    found = replace(
        found,
        manner=replace(
            found.manner, kind=kind, grace=grace, same_answer=True, expires_in=rng.choice((20.0, 60.0, 300.0))
        ),
        profile=Profile(f"grace:{grace:.0f}", grace=grace),
        calls=rng.randrange(4, 12),
        faults=(
            rng.choice(
                (
                    Fault(What.LOST_ANSWER, Point.SEND),
                    Fault(What.ERROR_AFTER, Point.SEND),
                    Fault(What.CRASH_AFTER, Point.SEND),
                    Fault(What.CRASH_BEFORE, Point.COMMIT),
                )
            ),
        ),
        happenings=(),
        lonely=False,
    )
    often = [rng.uniform(1.0, found.duration) for _ in range(rng.randrange(2, 7))]
    return replace(found, happenings=tuple(Happening(What.REVOKED, at) for at in often))


def _resend(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """An overloaded server, which processes what it never answers; the profile says never to send again."""
    found = replace(found, never_resends=True, profile=replace(found.profile, **NEVER_RESENDS))
    if not alone:
        return found
    lost = tuple(
        Fault(rng.choice((What.LOST_ANSWER, What.LOST_ANSWER, What.LOST_REQUEST, What.LATE_REQUEST)), Point.SEND, nth)
        for nth in (1, 2, 3)[: rng.randrange(1, 4)]
    )
    return replace(found, faults=lost, happenings=(Happening(What.REVOKED, rng.uniform(2.0, 15.0)),), lonely=False)


def _visitors(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """Short-lived processes, one after the other, with a token that ages meanwhile."""
    if found.host_saves or found.manner.expires_in is None:
        return found
    if alone:
        lives = rng.choice((30.0, 60.0, 60.0, 300.0))
        found = replace(
            found,
            manner=replace(found.manner, expires_in=lives),
            processes=rng.choice((0, 0, 1)),
            calls=rng.randrange(1, 4),
            duration=lives * rng.uniform(1.2, 2.5),
            skews=(0.0,) * found.hosts,
            faults=(),
            happenings=(),
        )
    lives = found.manner.expires_in or 60.0
    return replace(found, visited_every=max(rng.uniform(0.5, 2.0), lives / 100.0))


def _last_seconds(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """Many calls with tokens that live for seconds: servers count whole ones, and a call travels for a while."""
    if not alone:
        return found
    return replace(
        found,
        manner=replace(found.manner, expires_in=rng.choice((3.0, 8.0, 20.0, 60.0))),
        callers=rng.randrange(2, 5),
        calls=rng.randrange(20, 60),
        duration=60.0,
        faults=(),
        happenings=(),
        lonely=False,
    )


def _forks(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """A child goes on with its parent's memory, where others may have gone on, too, or the store lost it."""
    if alone and (also := rng.choice((None, Idea.LOST_STORE, Idea.UNSAVED))) is not None:
        found = with_idea(found, also, alone=True)
    forks = [
        Happening(What.FORK, rng.uniform(1.0, found.duration), rng.choice((0.0, 0.0, 0.01, 5.0)))
        for _ in range(rng.randrange(1, 3))
    ]
    return replace(found, happenings=(*found.happenings, *forks))


def _old_records(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    if alone:
        found = replace(found, lonely=False)
    return found if found.host_saves else replace(found, old_record=rng.choice(("idle", "leased", "failed")))


def _old_rows(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """The second login comes when others may have gone on from the first one; a static server does not mind."""
    if found.manner.kind is Kind.STATIC:
        return found
    if alone:
        found = replace(found, faults=(), happenings=(), lonely=False)
    at, apart = rng.uniform(1.0, found.duration / 2), rng.choice((0.0, 0.01, 1.0, 10.0, 30.0))
    logins = [Happening(What.SAME_LOGIN, at, apart)]
    if rng.random() < 0.5:
        logins.append(Happening(What.REVOKED, at + apart * rng.random()))
    return replace(found, happenings=(*found.happenings, *logins))


def _store_clocks(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """By more than what counts as the same clock still."""
    if alone:
        found = replace(found, has_clock=True, faults=_sometimes(found, rng) + _sometimes(found, rng))
    sets = [
        Happening(
            What.STORE_CLOCK_SET, rng.uniform(0.5, found.duration), rng.choice((-3600.0, -20.0, 3.0, 20.0, 7200.0))
        )
        for _ in range(rng.randrange(1, 3))
    ]
    return replace(found, happenings=(*found.happenings, *sets))


def _useless(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """Answers whose access token is of no use: some, or all for a while. Their refresh tokens are the only ones."""
    if found.host_saves and not alone:
        return found
    if alone:
        found = replace(
            found,
            manner=replace(found.manner, expires_in=rng.choice((20.0, 60.0, 300.0, 3600.0))),
            faults=_sometimes(found, rng),
            happenings=(Happening(What.REVOKED, rng.uniform(2.0, 15.0)),),
        )
    if rng.random() < 0.4:
        lasts = Happening(What.USELESS, rng.uniform(0.0, found.duration / 2), rng.choice((2.0, 20.0, 60.0)))
        return replace(found, happenings=(*found.happenings, lasts))
    faults = tuple(Fault(What.USELESS, Point.SEND, nth) for nth in range(1, rng.randrange(2, 5)))
    return replace(found, faults=(*found.faults, *faults))


def _strangers(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """A server, or a function with the cookies of somebody else, that answers with another account's tokens."""
    if found.host_saves and not alone:
        return found
    if alone:
        found = replace(
            found,
            manner=replace(found.manner, expires_in=rng.choice((20.0, 60.0, 300.0, 3600.0))),
            faults=_sometimes(found, rng),
            happenings=(Happening(What.REVOKED, rng.uniform(2.0, 15.0)),),
        )
    faults = tuple(Fault(What.STRANGER, Point.SEND, nth) for nth in range(rng.randrange(1, 3), rng.randrange(3, 5)))
    return replace(found, faults=(*found.faults, *faults))


def _once(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """Each call needs a token of its own, as it seems; and answers take about as long as their tokens live."""
    lives = rng.choice((3.0, 8.0, 60.0, 3600.0, None)) if alone else found.manner.expires_in
    if alone:
        slow = tuple(
            Fault(What.SLOW_ANSWER, Point.SEND, nth, min((lives or 3.0) * rng.uniform(0.4, 1.5), 9.0))
            for nth in range(1, rng.randrange(1, 8))
        )
        found = replace(
            found,
            callers=rng.randrange(1, 4),
            calls=rng.randrange(20, 50),
            duration=rng.uniform(60.0, 120.0),
            faults=slow if rng.random() < 0.6 else (),
            happenings=(),
            lonely=False,
        )
    return replace(found, manner=replace(found.manner, expires_in=lives, uses=rng.choice((1, 1, 2))))


def _bad_target(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """One target refuses whatever is sent, others are good until the token ends; and perhaps one more flaps."""
    if alone:
        duration = rng.uniform(60.0, 200.0)
        found = replace(
            found,
            manner=replace(found.manner, expires_in=rng.choice((300.0, 3600.0, None))),
            callers=rng.randrange(1, 4),
            calls=rng.randrange(20, 60),
            duration=duration,
            faults=_sometimes(found, rng),
            happenings=tuple(Happening(What.REVOKED, rng.uniform(5.0, duration)) for _ in range(rng.randrange(1, 4))),
            lonely=False,
        )
    begin = rng.uniform(0.0, found.duration / 4)
    lasts = Happening(What.BAD_TARGET, begin, found.duration * rng.uniform(0.3, 0.7))
    paths = (GOOD, BAD, FLAPS) if rng.random() < 0.4 else (GOOD, BAD)
    return replace(found, paths=paths, happenings=(*found.happenings, lasts))


def _founded_late(found: Scenario, rng: random.Random, alone: bool) -> Scenario:
    """Whoever restores a lost record is stopped right before that; others restore it, and the store loses it again."""
    if found.host_saves:
        return found
    if alone:
        found = replace(
            found,
            manner=replace(found.manner, expires_in=rng.choice((300.0, 3600.0))),
            callers=1,
            calls=rng.randrange(3, 8),
            duration=rng.uniform(60.0, 120.0),
            may_go_back=rng.random() < 0.7,
            faults=(),
            happenings=(Happening(What.REVOKED, rng.uniform(2.0, 10.0)),),
            lonely=False,
        )
    lost_at, stopped = rng.uniform(10.0, max(found.duration / 2, 11.0)), rng.choice((8.0, 15.0, 25.0, 34.0, 60.0))
    again_at = lost_at + stopped * rng.uniform(0.5, 1.0)
    happenings = [Happening(What.VANISHED, lost_at), Happening(What.VANISHED, again_at)]
    happenings += [Happening(What.REVOKED, at) for at in (lost_at + 0.05, again_at - 1.0) if rng.random() < 0.7]
    late = Fault(What.PAUSE_BEFORE, Point.CLAIM, rng.choice((1, 2, 2, 3, 3, 4)), stopped)
    return replace(found, faults=(*found.faults, late), happenings=(*found.happenings, *happenings))


_DRAWN: dict[Idea, Callable[[Scenario, random.Random, bool], Scenario]] = {
    Idea.LOST_STORE: _lost_store,
    Idea.UNSAVED: _unsaved,
    Idea.DOUBTFUL: _doubtful,
    Idea.REPEATED: _repeated,
    Idea.RESEND: _resend,
    Idea.FORKS: _forks,
    Idea.OLD_RECORDS: _old_records,
    Idea.OLD_ROWS: _old_rows,
    Idea.STORE_CLOCKS: _store_clocks,
    Idea.VISITORS: _visitors,
    Idea.LAST_SECONDS: _last_seconds,
    Idea.USELESS: _useless,
    Idea.BAD_TARGET: _bad_target,
    Idea.STRANGERS: _strangers,
    Idea.ONCE: _once,
    Idea.FOUNDED_LATE: _founded_late,
}
