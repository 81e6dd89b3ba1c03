"""The mutants of the rules that came with the ideas: each puts back what was done before."""

from __future__ import annotations

import math

from tests.simulator import network, people, pieces
from tests.simulator.faults import Fault, Happening, Point, What
from tests.simulator.ideas import Idea
from tests.simulator.mutant import Mutant, put, put_each
from tests.simulator.server import BAD, FLAPS, GOOD, Kind, Manner

from onerefresh import policy
from onerefresh import transitions as records
from onerefresh.credential import memory, run
from onerefresh.credential.run import CredentialRun
from onerefresh.damping import Targets
from onerefresh.profile import Profile
from onerefresh.record import Record
from onerefresh.renewal import (
    answer,
    bring_back,
    commit,
    decide,
    failed,
    recovery,
    recovery_lease,
    send,
    sightings,
    sights,
    strangers,
)
from onerefresh.renewal.sightings import Sightings
from onerefresh.token import Token

__all__ = ["IDEA_MUTANTS"]

LOST_STORE = (("idea", Idea.LOST_STORE),)
UNSAVED = (("idea", Idea.UNSAVED),)

TARGETS_THAT_FLAP = (
    ("idea", Idea.BAD_TARGET),
    ("faults", ()),
    ("happenings", (Happening(What.BAD_TARGET, 5.0, 600.0),)),
    ("paths", (GOOD, BAD, FLAPS)),
    ("manner", Manner(Kind.STATIC, expires_in=3600.0)),
    ("hosts", 1),
    ("skews", (0.0,)),
    ("processes", 2),
    ("callers", 1),
    ("duration", 610.0),
    ("calls", 300),
)

EMPTIED = (
    *LOST_STORE,
    ("faults", ()),
    (
        "happenings",
        (Happening(What.REVOKED, 10.0), Happening(What.VANISHED, 20.0), Happening(What.REVOKED, 20.05)),
    ),
    ("may_go_back", True),
    ("duration", 40.0),
    ("processes", 6),
    ("calls", 4),
)
FORGOTTEN = (
    *LOST_STORE,
    ("faults", (Fault(What.SLOW_ANSWER, Point.SEND, seconds=26.0),)),
    (
        "happenings",
        (Happening(What.REVOKED, 8.0), Happening(What.VANISHED, 12.0), Happening(What.REVOKED, 12.1)),
    ),
    ("may_go_back", True),
    ("manner", Manner(Kind.REJECT_ONLY, expires_in=300.0)),
    ("profile", Profile("strict")),
    ("duration", 60.0),
    ("processes", 6),
    ("calls", 6),
)
FORGOTTEN_WITHOUT_A_CLOCK = (
    *LOST_STORE,
    ("faults", (Fault(What.SLOW_ANSWER, Point.SEND, seconds=39.0),)),
    (
        "happenings",
        (Happening(What.REVOKED, 8.0), Happening(What.VANISHED, 15.0), Happening(What.REVOKED, 15.1)),
    ),
    ("may_go_back", False),
    ("has_clock", False),
    ("has_flock", False),
    ("manner", Manner(Kind.REJECT_ONLY, expires_in=30.0)),
    ("profile", Profile("strict")),
    ("duration", 60.0),
    ("processes", 6),
    ("calls", 6),
)
NOT_NOTED = (*EMPTIED[:1], ("faults", (Fault(What.NOTE_FAILS, Point.NOTE, seconds=2.0),)), *EMPTIED[2:])
FAILS_OVER = (
    *LOST_STORE,
    ("faults", ()),
    (
        "happenings",
        (Happening(What.REVOKED, 20.0), Happening(What.FAILOVER, 30.0, 15.0), Happening(What.REVOKED, 30.05)),
    ),
    ("may_go_back", True),
    ("has_clock", True),
    ("duration", 40.0),
    ("processes", 6),
    ("calls", 5),
)
USELESS_FOR_A_WHILE = (
    ("faults", ()),
    ("happenings", (Happening(What.USELESS, 5.0, 180.0),)),
    ("manner", Manner(Kind.REJECT_ONLY, expires_in=300.0)),
    ("profile", Profile("strict")),
    ("hosts", 1),
    ("skews", (0.0,)),
    ("duration", 190.0),
    ("calls", 40),
)
LATE_ANSWER = (
    ("manner", Manner(Kind.REJECT_ONLY, expires_in=20.0)),
    ("profile", Profile("strict", resend=0.0)),
    ("faults", (Fault(What.SLOW_ANSWER, Point.SEND, seconds=33.0), Fault(What.LOST_REQUEST, Point.SEND, 2))),
    ("happenings", (Happening(What.REVOKED, 5.0),)),
    ("has_flock", False),
)

LOST_AND_EMPTIED = (
    ("idea", Idea.RESEND),
    ("faults", (Fault(What.LOST_ANSWER, Point.SEND),)),
    ("happenings", (Happening(What.REVOKED, 5.0), Happening(What.VANISHED, 25.0))),
    ("may_go_back", True),
)
LOST_WHILE_DOWN = (
    ("idea", Idea.RESEND),
    ("faults", (Fault(What.LOST_ANSWER, Point.SEND), Fault(What.STORE_DOWN, Point.RELEASE, seconds=6.0))),
    ("happenings", (Happening(What.REVOKED, 5.0),)),
    ("hosts", 1),
)
REFUSED_LATE = (
    ("manner", Manner(Kind.REJECT_ONLY, expires_in=20.0)),
    ("profile", Profile("strict")),
    (
        "faults",
        (Fault(What.PAUSE_BEFORE, Point.SEND, seconds=45.0), Fault(What.STORE_DOWN, Point.RELEASE, 2, seconds=8.0)),
    ),
    ("happenings", (Happening(What.REVOKED, 5.0),)),
    ("hosts", 2),
    ("may_go_back", False),
    ("obtains", False),
    ("host_saves", False),
)
LOST_BEFORE_A_CLOCK_IS_SET = (
    ("manner", Manner(Kind.REJECT_ONLY, expires_in=300.0)),
    ("profile", Profile("strict")),
    ("faults", (Fault(What.LOST_REQUEST, Point.SEND),)),
    ("happenings", (Happening(What.REVOKED, 5.0), Happening(What.CLOCK_SET, 25.0, 3600.0))),
    ("hosts", 1),
    ("duration", 60.0),
    ("calls", 20),
    ("obtains", False),
    ("host_saves", False),
)
LOST_AND_AHEAD = (
    *LOST_BEFORE_A_CLOCK_IS_SET[:3],
    ("happenings", (Happening(What.REVOKED, 5.0),)),
    ("hosts", 2),
    ("skews", (0.0, 3600.0)),
    ("has_clock", True),
    *LOST_BEFORE_A_CLOCK_IS_SET[5:],
)
LOST_AND_RESTORED = (
    *LOST_BEFORE_A_CLOCK_IS_SET[:3],
    (
        "happenings",
        (Happening(What.REVOKED, 5.0), Happening(What.OUTAGE, 10.0, 20.0), Happening(What.RESTORED, 12.0, 60.0)),
    ),
    ("hosts", 2),
    ("skews", (0.0, 0.0)),
    ("has_clock", True),
    *LOST_BEFORE_A_CLOCK_IS_SET[5:],
)
OVERTAKEN = (
    ("manner", Manner(Kind.REJECT_ONLY, expires_in=3600.0)),
    ("profile", Profile("strict")),
    (
        "faults",
        (Fault(What.SLOW_ANSWER, Point.SEND, seconds=45.0), Fault(What.STORE_DOWN, Point.COMMIT, seconds=10.0)),
    ),
    ("happenings", (Happening(What.REVOKED, 3.0), Happening(What.LOGIN, 10.0), Happening(What.REVOKED, 20.0))),
    ("hosts", 1),
    ("processes", 1),
    ("calls", 12),
    ("duration", 60.0),
    ("obtains", False),
    ("host_saves", False),
)
SPOOLED_AFTER_A_LOGIN = (
    ("manner", Manner(Kind.REJECT_ONLY, expires_in=300.0)),
    ("profile", Profile("strict")),
    ("faults", (Fault(What.STORE_DOWN, Point.COMMIT, seconds=3.0), Fault(What.CRASH_BEFORE, Point.SLEEP))),
    ("happenings", (Happening(What.LOGIN, 1.0), Happening(What.REVOKED, 5.0), Happening(What.VANISHED, 20.0))),
    ("hosts", 1),
    ("processes", 1),
    ("duration", 60.0),
    ("obtains", False),
    ("host_saves", False),
)

IDEA_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "8",
        "nobody waits for an answer that could be saved nowhere",
        put(CredentialRun, "_follow", pieces.not_noticed),
        fixed=UNSAVED,
        shows="a process spends the refresh token to which it holds the answer",
    ),
    Mutant(
        "10",
        "a copy that is brought back is spent at once",
        put_each("recovery_lease", pieces.nothing, commit, recovery, recovery_lease),
        kind=Kind.REVOKE_FAMILY,
        fixed=LOST_STORE,
        shows="the store is emptied, and whoever asks first brings back his old copy and spends it",
    ),
    Mutant(
        "10",
        "nobody looks at the store in the background",
        put(people.Account, "look", pieces.not_noticed),
        fixed=LOST_STORE,
    ),
    Mutant("10", "a loss is not reported", pieces.nobody_reports, fixed=EMPTIED),
    Mutant(
        "10",
        "the claim of a request that is on its way is not put back",
        put_each("lacks", pieces.never, bring_back, people),
        fixed=FORGOTTEN,
    ),
    Mutant(
        "10",
        "that claim is not put back where no clock tells which lease ends first",
        put(bring_back, "is_dated", lambda *_: True),
        fixed=FORGOTTEN_WITHOUT_A_CLOCK,
    ),
    Mutant(
        "10",
        "a recovery lease is taken over although nobody could know of the loss",
        put(recovery_lease.Takeover, "is_due", pieces.yes),
        fixed=NOT_NOTED,
    ),
    Mutant(
        "10",
        "a recovery lease is dated before it is written",
        put_each("write_under", pieces.dated_before_its_write, commit, recovery, recovery_lease),
        fixed=(("idea", Idea.FOUNDED_LATE),),
    ),
    Mutant(
        "10",
        "another server is trusted at once",
        put(Sightings, "is_unsettled", pieces.never),
        fixed=FAILS_OVER,
    ),
    Mutant(
        "10",
        "a request is sent once more without a look",
        put(send, "_still_holds", pieces.yes),
        fixed=LATE_ANSWER,
    ),
    Mutant(
        "14",
        "the renewal of an ageing token is postponed by whoever finds it in the store",
        put(memory.SessionMemory, "adopt", pieces.adopted_ageing_is_postponed),
        fixed=(("idea", Idea.VISITORS),),
    ),
    Mutant(
        "14",
        "only the last fiftieth of its life counts as unusable",
        put(policy, "UNUSABLE_LEAST", 0.0),
        fixed=(("idea", Idea.LAST_SECONDS),),
    ),
    Mutant(
        "12",
        "a bare 401 ends the session",
        put(network, "judge_answer", pieces.dead_at_once),
        fixed=(("idea", Idea.DOUBTFUL),),
    ),
    Mutant(
        "12",
        "a token from a repeated request counts as just refreshed",
        put(records, "committed", pieces.not_marked),
        fixed=(("idea", Idea.REPEATED),),
    ),
    Mutant(
        "12",
        "a lost answer is asked for again, whatever the profile says",
        put(Profile, "sends_again_after", 0.0),
        fixed=(("idea", Idea.RESEND),),
    ),
    Mutant(
        "12",
        "what this process knows of a failure is forgotten with the store",
        put(Sightings, "recalled", pieces.as_it_is),
        fixed=LOST_AND_EMPTIED,
    ),
    Mutant(
        "12",
        "a failure that cannot be noted is forgotten",
        put(Sightings, "ends", pieces.not_noticed),
        fixed=LOST_WHILE_DOWN,
    ),
    Mutant(
        "8",
        "an answer is handed out from the spool although a login has overtaken it",
        put(answer, "has_overtaken", lambda *_: False),
        fixed=OVERTAKEN,
    ),
    Mutant(
        "8",
        "an answer in the spool is given up for the token of an earlier session",
        put(recovery, "_is_outdated", pieces.any_other_seed_tells),
        fixed=SPOOLED_AFTER_A_LOGIN,
    ),
    Mutant(
        "12",
        "a clock that is set forward ends the pause after a lost answer",
        put(sights.Sight, "earliest", lambda *_: -math.inf),
        fixed=LOST_BEFORE_A_CLOCK_IS_SET,
    ),
    Mutant(
        "12",
        "a wall clock that is ahead ends the pause after a lost answer",
        put(sightings, "age_of", pieces.age_on_the_wall),
        fixed=LOST_AND_AHEAD,
    ),
    Mutant(
        "12",
        "the pause after a lost answer ends where others, who did not know of it, have failed since",
        put(sightings, "resting", lambda record, *_: record),
        fixed=LOST_AND_RESTORED,
    ),
    Mutant(
        "12",
        "a refusal counts although others may have taken over",
        put(failed, "_reconsider", pieces.nothing),
        fixed=REFUSED_LATE,
    ),
    Mutant(
        "13",
        "a process sends beside its own request that is still under way",
        put(run, "is_under_way", pieces.not_noticed),
        "a refresher that never returns",
    ),
    Mutant(
        "8",
        "nothing is kept of an answer whose access token no header can carry",
        put(send, "_rest_of", pieces.not_noticed),
        kind=Kind.REJECT_ONLY,
        fixed=(("idea", Idea.USELESS),),
    ),
    Mutant(
        "12",
        "after an access token that no header can carry, the server is asked again at once",
        put(records, "committed", pieces.useless_without_a_pause),
        fixed=USELESS_FOR_A_WHILE,
    ),
    Mutant(
        "8",
        "another account's answer is taken for that of the session",
        put(send, "judge_stranger", pieces.not_noticed),
        fixed=(("idea", Idea.STRANGERS),),
    ),
    Mutant(
        "12",
        "after another account's answer the refresh token is sent again, as after a lost one",
        put(strangers, "Verdict", pieces.as_if_lost),
        fixed=(("idea", Idea.STRANGERS),),
    ),
    Mutant(
        "12",
        "early refreshes are not counted",
        put(Record, "rest", pieces.no_rest),
        fixed=(("idea", Idea.ONCE),),
    ),
    Mutant(
        "12",
        "the refusal of a target that had accepted the token is damped like any other",
        put(decide, "rule", pieces.target_unknown),
        fixed=(("idea", Idea.BAD_TARGET),),
    ),
    Mutant(
        "12",
        "what a target is let through for is not counted",
        put(Targets, "letting_through", pieces.as_before),
        fixed=TARGETS_THAT_FLAP,
    ),
    Mutant(
        "14",
        "a token is compared with the moment at which it was asked for",
        put(Token, "arrived", pieces.as_it_was_asked_for),
        fixed=(("idea", Idea.ONCE),),
    ),
    Mutant(
        "9",
        "a login with a used refresh token takes the place of the session that has used it",
        pieces.nothing_counts_as_spent,
        fixed=(("idea", Idea.OLD_ROWS),),
    ),
)
