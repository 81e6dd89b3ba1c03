"""The protocol with one rule taken out at a time, by putting something else in the rule's place.

Nothing of this is in the product: a mutant lives as long as its `with` block, in the process that simulates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from tests.effects import Effects
from tests.simulator import network, people, pieces, store, world
from tests.simulator.faults import Fault, Happening, Point, What
from tests.simulator.idea_mutants import IDEA_MUTANTS
from tests.simulator.mutant import Mutant, put, put_each
from tests.simulator.server import Kind, Manner

from onerefresh import succession
from onerefresh import transitions as records
from onerefresh.credential import acceptance, memory
from onerefresh.profile import Profile
from onerefresh.renewal import (
    answer,
    bring_back,
    claim,
    clocks,
    commands,
    decide,
    failed,
    host_save,
    period_watch,
    recovery,
    renew,
    send,
)
from onerefresh.renewal.known import Known
from onerefresh.renewal.sightings import Sightings

__all__ = ["MUTANTS", "Mutant"]


@contextlib.contextmanager
def _nothing_learned() -> Iterator[None]:
    with (
        mock.patch.object(Effects, "known", pieces.what_was_known_at_first),
        mock.patch.object(Known, "outdates", pieces.never),
    ):
        yield


CALM = ("faults", ())
OUTAGE = (CALM, ("happenings", (Happening(What.OUTAGE, 5.0, 60.0),)))
# So long that the budget of early refreshes alone would allow too many.
BAD_API = (CALM, ("happenings", (Happening(What.BAD_API, 5.0, 180.0),)), ("duration", 190.0), ("calls", 40))
WIPED = (("happenings", (Happening(What.WIPED, 20.0),)),)
BEHIND = (*OUTAGE, ("hosts", 2), ("skews", (3600.0, 0.0)), ("lonely", True))
SPOOLED = (
    ("faults", (Fault(What.STORE_DOWN, Point.COMMIT, seconds=6.0), Fault(What.CRASH_BEFORE, Point.SLEEP))),
    ("happenings", (Happening(What.REVOKED, 5.0), Happening(What.LOGIN, 22.0))),
    ("duration", 60.0),
    ("callers", 1),
    ("calls", 3),
)
SET_BACK = (
    CALM,
    ("happenings", (Happening(What.OUTAGE, 5.0, 60.0), Happening(What.CLOCK_SET, 30.0, -3600.0))),
    ("hosts", 1),
    ("skews", (0.0,)),
)
CLOCKS_DIFFER = (
    CALM,
    ("happenings", (Happening(What.REVOKED, 5.0),)),
    ("states_dates", True),
    ("has_clock", True),
    ("hosts", 2),
    ("skews", (3600.0, 0.0)),
)
SET_WHILE_ASLEEP = (
    ("has_clock", True),
    ("hosts", 2),
    ("happenings", (Happening(What.REVOKED, 5.0), Happening(What.STORE_CLOCK_SET, 45.0, 7200.0))),
)
SMALL_WINDOW = (("manner", Manner(Kind.GRACE, grace=15.0)), ("profile", Profile("grace:15", grace=15.0)))
SAVING = (("host_saves", True),)
SLOW_SAVE = (
    *SAVING,
    ("faults", (Fault(What.SLOW_SAVE, Point.SAVE, seconds=15.0),)),
    ("happenings", (Happening(What.REVOKED, 5.0), Happening(What.LOGIN, 15.0))),
)
VANISHED = (CALM, ("happenings", (Happening(What.REVOKED, 5.0), Happening(What.VANISHED, 20.0))), ("hosts", 1))
LOGOUT_AFTER = (
    ("faults", (Fault(What.ROLLBACK, Point.COMMIT, 2, seconds=60.0),)),
    ("happenings", (Happening(What.REVOKED, 5.0), Happening(What.REVOKED, 15.0), Happening(What.LOGOUT, 25.0))),
    ("may_go_back", False),
)
APPLIED_LATE = (
    ("faults", (Fault(What.UNKNOWN_LATER, Point.CLAIM),)),
    ("happenings", (Happening(What.REVOKED, 5.0),)),
    ("has_flock", False),
)
LEFT_BEHIND = (
    CALM,
    ("happenings", (Happening(What.OUTAGE, 5.0, 40.0), Happening(What.LOGIN, 15.0), Happening(What.VANISHED, 20.0))),
    ("hosts", 1),
)
LOGIN_FIRST = (CALM, ("happenings", (Happening(What.LOGIN, 0.0), Happening(What.SESSION_ENDED, 20.0))))
TOLD_TO_WAIT = (
    ("faults", (Fault(What.CRASH_AFTER, Point.SEND), Fault(What.THROTTLED, Point.SEND, 2, seconds=50.0))),
    ("happenings", (Happening(What.REVOKED, 5.0),)),
    ("hosts", 1),
)
SPOOLED_BEFORE_A_LOGIN = (
    ("faults", (Fault(What.STORE_DOWN, Point.COMMIT, seconds=3.0), Fault(What.CRASH_BEFORE, Point.SLEEP))),
    (
        "happenings",
        (
            Happening(What.REVOKED, 5.0),
            Happening(What.LOGIN, 9.0),
            Happening(What.VANISHED, 9.2),
            Happening(What.REVOKED, 9.21),
        ),
    ),
    ("hosts", 2),
    ("skews", (0.0, 0.0)),
)
STRICT = Kind.REVOKE_FAMILY

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "1",
        "claims are written whatever is there",
        put(store.SimulatedStore, "cas", pieces.blind_claim),
        fixed=(CALM,),
        shows="two processes hold the claim at once, and both send",
    ),
    Mutant(
        "1",
        "a claim of its own is a stranger's when it is applied late",
        put(renew, "is_own", pieces.no_proof),
        fixed=APPLIED_LATE,
    ),
    Mutant(
        "2",
        "only the owner of the lease commits",
        put_each("commit_into", pieces.owner_commits, recovery, answer),
        "paused with the answer in hand",
        Kind.REJECT_ONLY,
        shows="a holder that was stopped comes back with the living token, and throws it away",
    ),
    Mutant(
        "2",
        "a dead record is never revived",
        put(succession, "may_commit", pieces.dead_stays_dead),
        "paused with the answer in hand",
        Kind.REJECT_ONLY,
    ),
    Mutant(
        "2",
        "a commit does not know its own earlier write",
        put_each("commit_into", pieces.commit_forgets_itself, recovery, answer),
    ),
    Mutant(
        "3",
        "invalid_grant is believed at once",
        put(failed, "_someone_commits", pieces.no),
        "slow answer, then a pause",
        Kind.REJECT_ONLY,
        shows="the session is declared dead while its new token is on the way",
    ),
    Mutant(
        "3",
        "a dispute is never noticed",
        put(renew, "is_contested", pieces.never_contested),
        "slow answer, then a pause",
        Kind.REJECT_ONLY,
    ),
    Mutant(
        "3",
        "a release forgets that the token may be spent",
        put(records, "released", pieces.doubt_forgotten),
        kind=Kind.REJECT_ONLY,
        fixed=TOLD_TO_WAIT,
    ),
    Mutant(
        "4",
        "30 s to live, whatever the grace window",
        put(Profile, "time_to_live", pieces.thirty_seconds),
        "crash while the answer is under way",
        Kind.GRACE,
        shows="after a crash the next process comes too late for a window of 30 s",
    ),
    Mutant(
        "4",
        "30 s to live at a strict server",
        put(Profile, "time_to_live", pieces.thirty_seconds),
        "paused right before sending",
        STRICT,
    ),
    Mutant(
        "4",
        "a window too small for a second request counts all the same",
        put(Profile, "time_to_live", pieces.small_windows_count),
        "paused right before sending",
        fixed=SMALL_WINDOW,
    ),
    Mutant("5", "wall clocks say when a lease is over", put(world.World, "moment", pieces.wall_clock)),
    Mutant("5", "a lease is over at first sight", put(period_watch.PeriodWatch, "left", pieces.first_sight)),
    Mutant(
        "5",
        "the store's clock is not asked",
        put(period_watch.PeriodWatch, "left", pieces.own_watch_only),
        "crash right before sending",
        fixed=(("has_clock", True), ("has_flock", False)),
        shows=(
            "a process that begins late watches a dead attempt for the whole time to live once more, and "
            "one that lives for less than that never takes over"
        ),
    ),
    Mutant("5", "a delay ends by the wall clock alone", put(Sightings, "dated", pieces.undated), fixed=BEHIND),
    Mutant(
        "5",
        "a delay ends by a wall clock that is set back meanwhile",
        put(Sightings, "dated", pieces.undated),
        fixed=SET_BACK,
    ),
    Mutant(
        "5",
        "a machine takes its own clock for the server's",
        put(renew, "skew_here", pieces.own_clock_is_right),
        fixed=CLOCKS_DIFFER,
    ),
    Mutant(
        "6",
        "no gate before sending",
        put(send, "most_age", pieces.never_old),
        "paused between claim and gate",
        STRICT,
        shows=(
            "a process that was stopped between its claim and its request sends a refresh token that others "
            "have long spent"
        ),
    ),
    Mutant(
        "6",
        "age counts from after the claim",
        put_each("run_attempt", pieces.born_with_its_claim, claim, renew),
        "paused between claim and gate",
        STRICT,
    ),
    Mutant(
        "6",
        "age counts by the machine's own clock alone",
        put(send, "most_age", pieces.own_clock_only),
        "asleep between claim and gate",
        STRICT,
        fixed=(("has_clock", True), ("hosts", 2), ("skews", (0.0, 0.0))),
        shows=(
            "a machine sleeps between its claim and its request; its own clock stood still, and it sends a "
            "refresh token that others have spent"
        ),
    ),
    Mutant(
        "6",
        "no wall clock keeps an attempt back",
        put(send, "most_age", clocks.age),
        "asleep between claim and gate",
        STRICT,
        fixed=SET_WHILE_ASLEEP,
    ),
    Mutant(
        "7",
        "any lock that is free proves a death",
        put(renew, "is_proof", pieces.any_hold),
        shows="a lock on one machine is taken for news of a process on another",
    ),
    Mutant("7", "no death is ever proven", put(renew, "is_proof", pieces.no_proof), "crash right before sending"),
    Mutant(
        "8",
        "the commit gives up when the store is down",
        put_each("commit_into", pieces.commit_gives_up, recovery, answer),
        "store down at the commit",
    ),
    Mutant(
        "8",
        "no spool",
        pieces.no_spool,
        "store down at the commit, then a crash",
        Kind.REJECT_ONLY,
        shows="the store is down for some seconds, the process dies, and the only living token dies with it",
    ),
    Mutant(
        "8",
        "the spool is never read",
        put_each("replay_spool", pieces.no, renew, recovery, bring_back),
        "store down at the commit, then a crash",
        Kind.REJECT_ONLY,
    ),
    Mutant(
        "8",
        "the new token is handed out before it is saved",
        put_each("commit_into", pieces.hand_out_first, recovery, answer),
    ),
    Mutant(
        "8",
        "the host need not have saved what is handed out",
        put(records, "committed", pieces.taken_for_saved),
        fixed=SAVING,
    ),
    Mutant(
        "8",
        "what the host could not save is handed out",
        put(host_save, "_hand_over", pieces.hand_over_or_not),
        "the host cannot save",
    ),
    Mutant(
        "8",
        "a slow save is the last, whatever came since",
        put_each("save_with_host", pieces.keep_whatever_came_since, renew, commands),
        fixed=SLOW_SAVE,
    ),
    Mutant(
        "9",
        "a commit looks at the generation alone",
        put(succession, "may_commit", pieces.any_family),
        "paused with the answer in hand",
        fixed=WIPED,
        shows="somebody wipes the store and logs in with another account; a refresh of the old one overwrites it",
    ),
    Mutant("9", "a repair looks at the generation alone", put(renew, "decide", pieces.repair_across_families)),
    Mutant(
        "9",
        "a spooled token is committed into any family",
        put_each("replay_spool", pieces.spool_into_any_family, renew, recovery, bring_back),
        fixed=SPOOLED,
    ),
    Mutant(
        "9",
        "a spooled token of another family stays",
        put_each("replay_spool", pieces.spool_is_kept, renew, recovery, bring_back),
        fixed=SPOOLED,
    ),
    Mutant(
        "9",
        "a spooled token comes back over a login that the store has lost",
        put(recovery, "_is_outdated", pieces.only_the_seed_tells),
        fixed=SPOOLED_BEFORE_A_LOGIN,
    ),
    Mutant("9", "a commit undoes a logout", put(succession, "may_commit", pieces.logged_out_too)),
    Mutant(
        "9",
        "a dead login makes way for the seed before it",
        put(commands, "_earlier", pieces.nothing_before),
        fixed=LOGIN_FIRST,
    ),
    Mutant(
        "10",
        "nobody repairs a store that went back",
        put(renew, "decide", pieces.no_repair),
        "store goes back after the commit",
        STRICT,
        fixed=(("may_go_back", False),),
    ),
    Mutant(
        "10",
        "the committer does not look again",
        put(answer, "look_again", pieces.nothing),
        "store goes back after the commit",
        STRICT,
        shows="the store forgets the new token, and the next process spends the old one",
    ),
    Mutant(
        "10",
        "a record that vanished is founded again from the seed alone",
        put(renew, "decide", pieces.seed_alone),
        fixed=VANISHED,
    ),
    Mutant(
        "10",
        "a repair undoes a logout",
        put_each("rolled_back", pieces.repair_after_a_logout, succession, decide),
        fixed=LOGOUT_AFTER,
    ),
    Mutant(
        "10",
        "a renewal goes by what its process knew when it began",
        _nothing_learned,
        fixed=LEFT_BEHIND,
    ),
    Mutant("12", "a dead session is never looked up again", put_each("LOOK_AGAIN", 1e9, acceptance, memory)),
    Mutant(
        "12",
        "an `invalid_grant` is not remembered",
        put(records, "died", pieces.death_forgotten),
        shows="a session that is over is asked for again by everybody",
    ),
    Mutant("12", "refused replays are not damped in the record", pieces.no_damping, fixed=BAD_API),
    Mutant("12", "a failure is not remembered", put(records, "released", pieces.failure_forgotten), fixed=OUTAGE),
    Mutant("13", "waiting has no end", put(people, "MAX_WAIT", 1e9), "slow answer, then a pause"),
    Mutant(
        "13",
        "a refresher that never returns is waited for",
        put(network.Network, "_overdue", pieces.not_noticed),
        "a refresher that never returns",
        shows="one process is lost for as long as its refresher hangs, though others have long taken over",
    ),
    *IDEA_MUTANTS,
)
