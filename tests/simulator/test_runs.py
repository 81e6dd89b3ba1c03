"""Thousands of runs: no promise is broken, and the simulator is not blind."""

from __future__ import annotations

import collections
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.simulator import Excuse, Kind, Report, Scenario, What, simulate
from tests.simulator.dense import dense
from tests.simulator.faults import LOSSES, Fault, Happening, Point

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(480)]

RUNS, BATCH, COUNTED = 2_000, 500, 1_500
"""`COUNTED`: so many runs, the first ones, are looked at more closely."""


def explained(report: Report) -> str:
    """The account of a run that broke a promise, for whoever has to mend it."""
    return str(simulate(report.scenario, account=True))


@pytest.mark.parametrize("first", range(COUNTED, RUNS, BATCH))
def test_no_promise_is_broken(first: int) -> None:
    for seed in range(first, first + BATCH):
        report = simulate(seed)
        assert report.broken is None, explained(report)


def test_no_promise_is_broken_where_one_kind_of_trouble_comes_several_times() -> None:
    for seed in range(2 * BATCH):
        report = simulate(dense(seed))
        assert report.broken is None, explained(report)


def test_without_faults_nothing_is_ever_lost_and_each_generation_takes_one_request() -> None:
    for seed in range(300):
        report = simulate(Scenario.of(seed, faults=(), happenings=()))
        assert report.broken is None, explained(report)
        assert (report.end, report.requests) == ("usable", report.generations - 1)


def test_the_same_seed_is_the_same_run_in_another_interpreter() -> None:
    code = (
        "import hashlib\nfrom tests.simulator import simulate\n"
        "print(hashlib.sha256(''.join(str(simulate(seed, account=True)) for seed in range(60)).encode()).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(printed) == 1


def test_no_promise_is_broken_while_every_fault_strikes_and_every_kind_of_server_sees_each_end() -> None:
    struck = collections.Counter[str]()
    ends = collections.Counter[tuple[Kind, str]]()
    excuses = set[str]()
    for seed in range(COUNTED):
        report = simulate(seed)
        assert report.broken is None, explained(report)
        struck.update(entry.split(" at ")[0] for entry in report.struck)
        ends[report.scenario.manner.kind, report.end] += 1
        excuses |= report.excuses
    at_effects = set(What) - {
        What.OUTAGE, What.REVOKED, What.BAD_API, What.BAD_TARGET, What.LOGIN, What.LOGOUT, What.SESSION_ENDED,
        What.REBOOT, What.WIPED, What.VANISHED, What.CLOCK_SET, *LOSSES, What.DOUBTFUL, What.STORE_CLOCK_SET,
        What.FORK, What.SAME_LOGIN,
    }  # fmt: skip
    assert at_effects <= set(struck)
    assert {(kind, end) for kind in Kind for end in ("usable", "dead", "logged out")} <= set(ends)
    assert excuses == set(Excuse)


def test_an_account_tells_who_did_what_and_shows_no_token() -> None:
    scenario = Scenario.of(
        3, faults=(Fault(What.CRASH_BEFORE, Point.SEND),), happenings=(Happening(What.REVOKED, 5.0),)
    )
    report = simulate(scenario, account=True)
    text = str(report)
    assert "crash before at send" in text
    assert "claimed (generation 1)" in text
    assert "access-" not in text
    assert "refresh-" not in text
    diagram = report.account.mermaid().splitlines()
    assert diagram[0] == "sequenceDiagram"
    assert diagram[1] == "    participant p0 as world"
    assert len(diagram) == 1 + len(report.account.lines) + sum("participant" in line for line in diagram)


# --- Runs that once broke a promise ---


def test_a_machine_whose_clock_is_behind_waits_no_longer_than_the_others() -> None:
    """It took another machine's failure for one of the future, and asked again only when its clock had caught up."""
    for seed in range(60):
        report = simulate(
            Scenario.of(
                seed,
                faults=(),
                happenings=(Happening(What.OUTAGE, 5.0, 60.0),),
                hosts=2,
                skews=(3600.0, 0.0),
                lonely=True,
            )
        )
        assert report.broken is None, explained(report)


@pytest.mark.parametrize("what", [What.UNKNOWN_APPLIED, What.UNKNOWN_LOST, What.UNKNOWN_LATER])
@pytest.mark.parametrize("act", [What.LOGIN, What.LOGOUT])
def test_a_login_or_logout_whose_outcome_was_not_heard_of_is_done_once(what: What, act: What) -> None:
    """Written twice, a login took a token back that others had refreshed, and a logout ended somebody's new login."""
    done = 0
    for seed in range(60):
        report = simulate(
            Scenario.of(seed, faults=(Fault(what, Point.RELEASE),), happenings=(Happening(act, 10.0),), obtains=False)
        )
        assert report.broken is None, explained(report)
        name = "login" if act is What.LOGIN else "logout"
        assert report.history.count(name) <= 1, explained(report)
        done += report.history.count(name)
    assert done > 30


def test_a_store_that_went_back_is_repaired_before_the_old_token_is_sent_again() -> None:
    lost = 0
    for seed in range(200):
        report = simulate(Scenario.of(seed, plan="store goes back after the commit", kind=Kind.REVOKE_FAMILY))
        assert report.broken is None, explained(report)
        lost += report.end == "dead"
    assert lost <= 60  # many wait at the very moment when it goes back, for a recovery lease, and cannot tell


def test_a_new_token_survives_an_outage_of_the_store() -> None:
    for seed in range(60):
        report = simulate(
            Scenario.of(
                seed,
                faults=(Fault(What.STORE_DOWN, Point.COMMIT, seconds=120.0),),
                happenings=(),
                kind=Kind.REJECT_ONLY,
            )
        )
        assert report.broken is None, explained(report)
        assert report.end == "usable", explained(report)


@pytest.mark.parametrize("seed", [1_329_111, 1_848_575])
def test_whoever_has_seen_a_logout_may_begin_anew_where_the_store_loses_it(seed: int) -> None:
    """His renewal had begun before the logout, and was judged by what its process knew then."""
    assert simulate(Scenario.of(seed)).broken is None


@pytest.mark.parametrize("seed", [1_429_954, 1_478_783])
def test_whoever_finds_a_later_login_in_the_spool_founds_a_vanished_record_with_it(seed: int) -> None:
    """He knew the session of before, and was to bring that back."""
    assert simulate(Scenario.of(seed)).broken is None


def test_a_spooled_token_does_not_undo_a_login_where_the_record_vanishes() -> None:
    """It was founded again with the session of before, by a process that knew of the login."""
    for seed in (408, 439, 583, 800):
        report = simulate(
            Scenario.of(
                seed,
                faults=(
                    Fault(What.STORE_DOWN, Point.COMMIT, seconds=3.0),
                    Fault(What.CRASH_BEFORE, Point.SLEEP),
                ),
                happenings=(
                    Happening(What.REVOKED, 5.0),
                    Happening(What.LOGIN, 6.0),
                    Happening(What.VANISHED, 6.05),
                ),
                obtains=False,
                host_saves=False,
                duration=30.0,
            )
        )
        assert report.broken is None, explained(report)


def test_a_holder_is_known_by_the_claim_under_which_it_sends() -> None:
    """Its claim was applied late, when it had named another one in vain: nobody noted how long it was kept away."""
    assert simulate(Scenario.of(1_341_716)).broken is None


def test_nobody_is_asked_for_the_last_time_while_a_token_lies_in_a_spool() -> None:
    """It revived the session: some had the reason of its first death already, the others that of its second."""
    assert simulate(Scenario.of(1_992_740)).broken is None


def test_a_claim_is_over_with_its_time_to_live_however_late_its_request_was_sent() -> None:
    """Its process was stopped between the two, and the look put the claim back for that much longer."""
    for seed in range(120_156_000, 120_156_030):
        report = simulate(
            Scenario.of(
                seed,
                faults=(
                    Fault(What.PAUSE_AFTER, Point.CLAIM, seconds=9.0),
                    Fault(What.SLOW_ANSWER, Point.SEND, seconds=51.0),
                ),
                happenings=(Happening(What.VANISHED, 14.7), Happening(What.VANISHED, 35.0)),
            )
        )
        assert report.broken is None, explained(report)


@pytest.mark.parametrize("seed", [560_000_001, 560_000_056, 560_000_058])
def test_a_death_is_judged_by_the_refusal_of_whoever_declares_it(seed: int) -> None:
    """A process that had been stopped was refused right before that, with a late request of its own."""
    report = simulate(
        Scenario.of(
            seed,
            kind=Kind.REJECT_ONLY,
            hosts=1,
            skews=(0.0,),
            processes=2,
            has_clock=True,
            has_flock=True,
            may_go_back=False,
            host_saves=False,
            obtains=False,
            faults=(Fault(What.PAUSE_BEFORE, Point.SEND, seconds=90.0), Fault(What.SLOW_ANSWER, Point.SEND, 2, 62.0)),
            happenings=(Happening(What.REVOKED, 56.0),),
            duration=100.0,
        )
    )
    assert report.broken is None, explained(report)


def test_a_machine_whose_clock_is_behind_may_know_that_without_the_store_s() -> None:
    """So it claims for no longer than others do, and is taken over while a slow answer is on its way."""
    for seed in range(560_000_000, 560_000_010):
        report = simulate(
            Scenario.of(
                seed,
                kind=Kind.REVOKE_FAMILY,
                hosts=2,
                skews=(-3600.0, -3600.0),
                has_clock=False,
                has_flock=False,
                may_go_back=False,
                host_saves=False,
                obtains=False,
                states_dates=True,
                faults=(Fault(What.SLOW_ANSWER, Point.SEND, 2, 65.0),),
                happenings=(),
                duration=65.0,
            )
        )
        assert report.broken is None, explained(report)


def test_no_other_machine_knows_its_clock_by_that_of_a_store_that_was_set_since() -> None:
    """The store's clock was set for a while: what a record said in between misleads, once it is as it was before."""
    for seed in range(4080, 4096):
        report = simulate(
            replace(
                dense(4036),
                seed=seed,
                hosts=2,
                skews=(3600.0, 3600.0),
                has_flock=False,
                faults=(),
                happenings=(
                    Happening(What.STORE_CLOCK_SET, 20.0, 3600.0),
                    Happening(What.REVOKED, 21.0),
                    Happening(What.STORE_CLOCK_SET, 35.0, -3600.0),
                ),
            )
        )
        assert report.broken is None, explained(report)


@pytest.mark.parametrize("seed", [1_001_854, 1_001_912, 1_001_938, 1_001_998])
def test_nothing_tells_a_machine_that_has_slept_how_old_its_claim_is_where_the_store_has_no_clock(seed: int) -> None:
    """It slept right before its claim, and put that back when it was over for others."""
    report = simulate(
        replace(
            dense(1_001_853),
            seed=seed,
            hosts=2,
            skews=(0.0, 0.0),
            has_flock=False,
            has_clock=False,
            faults=(
                Fault(What.ASLEEP_BEFORE, Point.CLAIM, 3 + seed % 2, 18.0),
                Fault(What.SLOW_ANSWER, Point.SEND, seconds=70.0),
            ),
            happenings=(
                Happening(What.REVOKED, 10.0),
                Happening(What.REVOKED, 14.0),
                Happening(What.VANISHED, 30.0 + seed % 20),
            ),
        )
    )
    assert report.broken is None, explained(report)


def test_the_command_runs_many_seeds_in_several_processes() -> None:
    command = f"-m tests.simulator --first {RUNS} --runs 60 --jobs 2".split()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "60 runs" in done.stdout
    assert "0 broke a promise" in done.stdout


BROKE_ONCE = {
    7_045_312: "a login in the middle of an outage, which begins anew",
    7_066_586: "a store that was down for longer than the holder of a spooled token tried",
    1_088_566: "a machine that sleeps right before its claim",
    1_103_035: "a login that the host cannot save",
    1_477_856: "a late answer to a generation that the store has lost, and whose number another token has by now",
    70_000_267: "a spooled token gave way to a session of before its login that was refreshed after a loss",
    70_002_607: "the judge let no spooled token go that a store had acknowledged before it went back",
    71_000_032: "the judge let no answer of a later session over a record to which the store had gone back",
    71_001_989: "a process forgot that an answer had been another account's, once others had failed in another way",
    100_001_628: "a process that began after a failover spent an old copy before others had restored theirs",
    100_017_316: "the judge let a machine whose clock was off know how long a token still served",
    100_021_457: "the judge forgot that a process may die by a fork, with its request under way",
    120_176_600: "a request that reached nobody, sent too late, hid the pause after another one's lost answer",
    120_157_539: "who missed a wake-up did not read the record again, as each does",
    120_160_152: "a claim that the store lost with a takeover did not come back over the lease before it",
    120_162_076: "two sessions of one number replaced each other without end",
    120_155_538: "the judge knew a login with the token of an earlier session only where that token had been sent",
    133_020_718: "two sessions that each took the other for the earlier one replaced each other at the same number",
    140_018_677: "the judge took the session that began last at the server for the last login",
    205_002_064: "the judge took a token that had come of a second login with one token for an old copy",
    203_001_022: "a spooled token forgot by how much the clock of its machine was off",
    120_046_935: "a process believed a refusal that its own other renewal had not yet found to be overtaken",
    131_023_997: "an obtained token was dropped where the store was emptied and another process had begun anew",
    130_006_004: "a forked child had forgotten which sessions were earlier, which no real one does",
    120_072_051: "the judge let no machine that had slept put its claim back over a recovery lease",
    120_073_856: "the same, where another server had taken the place of that whose clock had dated the claim",
    120_156_167: "the judge let no process that was stopped right before that write put its claim back",
    120_082_156: "the judge took the date of a later failure for that of a lost answer, of another era of the clock",
    100_011_454: "the judge took an error of before a login for one about it",
    82_001_541: "a process used a token after an outage that it had only read, and forgot how far its clock was off",
    120_091_219: "an old access token beside a new refresh token was said to be dated by another machine",
    131_002_306: "a store's clock was set back to before a token was issued, and new processes believed it",
    120_107_851: "the judge waited for a process to look again that had died with its machine before its first look",
    80_000_537: "the judge compared a claim with a later token: its machine had slept before the event of it",
    1_280_712: "the same, where the seed took the place of a login",
    1_924_630: "the same once more",
    1_940_285: "an answer lost with its process, which was forgotten when whoever took over was told to wait",
    1_423_039: "a machine that is switched off in the end, with an answer on its way",
    1_729_912: "the same",
    1_910_730: "the same once more",
    1_067_508: "a login in a process whose own renewal, which knew nothing before, wrote over its lost record",
    1_062_016: "the same, where the store had been wiped before, so that the login was numbered from 1",
}


@pytest.mark.parametrize("scenario_of", [Scenario.of, Scenario.mixed])
@pytest.mark.parametrize("seed", BROKE_ONCE)
def test_a_seed_that_once_broke_a_promise(seed: int, scenario_of: Callable[[int], Scenario]) -> None:
    """In its plain scenario, or in that of thousands of runs, where some of the later ideas are added."""
    assert simulate(scenario_of(seed)).broken is None, BROKE_ONCE[seed]


DENSE_BROKE_ONCE = {
    4036: "a store's clock was set back, and a new process believed nothing of its own machine's clock either",
    1_001_853: "a claim came back that the store's clock had shown to be over, once another server had taken its place",
    1_005_845: "the judge let a process that had begun after a failover know on which server a login had been written",
    1_901_205: "the judge reckoned a time to live by a store's clock that had been set since the token came",
    2_008_215: "the judge let a machine know its clock to the second by a store's clock that had been set by three",
    2_011_626: "the judge let a machine whose clock was right know that the store's had been set back since",
    2_012_770: "a process that waited forgot what it had read, and believed an older record that the session was over",
    2_019_714: "the judge let nobody take over from a claim that was over while its answer was on its way to the store",
    2_024_859: "the judge forgot that a claim which was applied late had been made under its machine's lock",
    2_031_752: "the judge let others know of a second lost answer, whose process was stopped before it noted that",
    2_037_030: "the judge let a token come back that had died with its process before the store lost it",
}


@pytest.mark.parametrize("seed", DENSE_BROKE_ONCE)
def test_the_dense_seeds_that_broke_once_break_no_more(seed: int) -> None:
    report = simulate(dense(seed))
    assert report.broken is None, explained(report)
