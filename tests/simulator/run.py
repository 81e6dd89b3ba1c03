"""One run from its first moment to its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.simulator import people
from tests.simulator.account import Account
from tests.simulator.broken import Broken
from tests.simulator.excuses import Excuse, keeps_grace_promise
from tests.simulator.faults import LOSSES, MOMENTARY, What
from tests.simulator.network import INVALID_GRANT
from tests.simulator.process import Process
from tests.simulator.scenario import Scenario
from tests.simulator.server import Kind as ServerKind
from tests.simulator.tasks import Pass
from tests.simulator.world import World

from onerefresh import errors
from onerefresh.events import Kind
from onerefresh.record import State

__all__ = ["NO_DEFECTS", "Report", "simulate"]

NO_DEFECTS = "no defects"
MOST_STEPS = 300_000
_HARMLESS = frozenset({What.EARLY_WAKE, What.NO_WAKE, What.UNAVAILABLE, What.ERROR_BEFORE})
_DEADLY = frozenset({What.CRASH_BEFORE, What.CRASH_AFTER, What.EXIT})
LONGEST_PAUSE = 20.0
"""Seconds that pass at most until somebody asks again on a host, before the last question."""
UNPROVEN, UNKNOWN = "whether the session is over is not proven", "whether the refresh token is spent is not known"
HUNG = "a refresher has not returned, and nothing is sent beside it"
UNSETTLED = 1_500.0
"""Seconds for which a doubt may stay in the end until it counts as one that a person has to settle."""
LONGEST_END = 2_000.0
"""Seconds of virtual time within which everybody must have a token or a reason, once nothing goes wrong any more."""


@dataclass(slots=True)
class Report:
    """How a run went.

    `broken`: the promise that was broken, or None. `end`: ``"usable"``, ``"dead"`` or ``"logged out"``. `why`: what the
    callers were told, where it is dead. `excuses`: why it may be. `requests`: token requests that reached the server.
    `history`: the last changes of the record.
    """

    scenario: Scenario
    broken: Broken | None = None
    end: str = ""
    why: str = ""
    excuses: frozenset[str] = frozenset()
    struck: tuple[str, ...] = ()
    requests: int = 0
    generations: int = 0
    calls: int = 0
    steps: int = 0
    history: tuple[str, ...] = ()
    account: Account = field(default_factory=lambda: Account(kept=False))

    def __str__(self) -> str:
        said = f"BROKEN: {self.broken}" if self.broken else f"{self.end}{': ' if self.why else ''}{self.why}"
        return f"{self.scenario}\n{self.account}\n{said}"


def simulate(scenario: Scenario | int, *, account: bool = False) -> Report:
    """Run a scenario, or that of a seed. `account`: keep the account of who did what when."""
    if isinstance(scenario, int):
        scenario = Scenario.mixed(scenario)
    world = World(scenario, account=account)
    report = Report(scenario, account=world.account)
    try:
        _Course(world, report).run()
    except Broken as broken:
        report.broken = broken
    except (AssertionError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as defect:
        report.broken = Broken(NO_DEFECTS, f"{type(defect).__name__}: {defect}")
        report.broken.__cause__ = defect
    judge = world.judge
    report.excuses, report.struck = judge.excuses.kinds, tuple(str(fault) for fault in judge.struck_faults)
    report.requests, report.calls, report.steps = world.server.requests, judge.calls_ended, world.timeline.steps
    report.generations = world.store.record.generation if world.store.record is not None else 0
    report.history = tuple(entry.what for entry in world.store.record.history) if world.store.record else ()
    for process in world.accounts:
        for task in list(process.tasks):
            task.coroutine.close()
    return report


class _Course:
    """Trouble, then rest, then a last question to everybody."""

    def __init__(self, world: World, report: Report) -> None:
        self._world = world
        self._report = report
        self._answers: dict[Process, str] = {}
        self._asked_at = 0.0

    def run(self) -> None:
        world = self._world
        self._pass(world.scenario.duration)
        world.faults_left = False
        self._survey(last=False)
        self._pass(self._quiet_at())
        if any(host.spool for host in world.hosts):
            self._pass(world.timeline.now + LONGEST_PAUSE)  # whoever asks there next brings it into the store
        while world.judge.somebody_spends():
            self._pass(world.timeline.now + 20.0)
        self._pass(world.timeline.now + 5.0)  # a dead session is looked up again after a second
        world.settling = True
        if world.scenario.lonely and not any(host.spool for host in world.hosts):
            self._leave_one_host()
        self._ask_everybody()
        self._ask_again_while_they_disagree()
        self._judge_end()

    def _ask_again_while_they_disagree(self) -> None:
        """Whoever knows a newer generation than the store brings it back when he is asked and has to look there."""
        world = self._world
        for time in range(3):
            if not world.judge.unordered or len(set(self._answers.values())) <= 1:
                return
            if time == 1:
                world.server.revoke_access_tokens()
            self._pass(world.timeline.now + 5.0)
            self._ask_everybody()

    def _ask_everybody(self) -> None:
        world = self._world
        self._answers.clear()
        self._survey(last=True)
        self._asked_at = world.timeline.now
        deadline = world.timeline.now + LONGEST_END
        while not self._everybody_answered():
            if world.timeline.now > deadline:
                left = [process.name for process in world.accounts if process not in self._answers]
                raise Broken("every run ends usable or dead", f"{', '.join(left)} got neither a token nor a reason")
            self._pass(world.timeline.now + 10.0)
        self._pass(world.timeline.now + 60.0)  # what is under way comes to its end
        while world.judge.somebody_spends():
            self._pass(world.timeline.now + 5.0)

    def _leave_one_host(self) -> None:
        world = self._world
        stays = world.rng.choice(world.hosts)
        for process in list(world.accounts):
            if process.host is not stays:
                process.crash()
        world.hosts = [stays]

    def _pass(self, until: float) -> None:
        if not self._world.timeline.run(until, MOST_STEPS):
            raise Broken("no endless loops", f"more than {MOST_STEPS} steps")

    def _quiet_at(self) -> float:
        """When the last pause and outage is over, also of what is still to happen."""
        world = self._world
        ends = [process.resumes_at for process in world.accounts]
        ends += [
            happening.at + (0.0 if happening.what in MOMENTARY else happening.seconds)
            for happening in (*world.scenario.happenings, *world.judge.happenings)
        ]
        ends += [world.network.down_until, world.store.down_until]
        return max(*ends, world.timeline.now) + 15.0

    def _survey(self, *, last: bool) -> None:
        """Ask on every host by a new process, again and again; the last time also every process that is there."""
        world = self._world
        if world.scenario.host_saves:  # one process at a time: another would have another memory
            if last:
                for process in [process for process in world.accounts if not process.ending] or [self._another()]:
                    self._ask(process, again=False)
            return
        if not last:
            for host in world.hosts:
                self._ask(world.start(host, calls=0), again=True)
            return
        for process in list(world.accounts):
            if not process.ending:
                self._ask(process, again=False)
        for host in world.hosts:
            self._ask(world.start(host, calls=0), again=False)

    def _another(self) -> Process:
        return self._world.start(self._world.hosts[0], calls=0)

    def _ask(self, process: Process, *, again: bool) -> None:
        async def asking() -> None:
            pause = 2.0
            while True:
                answer = await self._answer(process)
                if not again and answer:
                    self._answers[process] = answer
                    return
                if again and self._world.settling:
                    return
                await Pass(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE)

        process.spawn("survey", asking(), lambda *_: None).is_caller = True

    async def _answer(self, process: Process) -> str:
        """``"usable"``, a reason why not, or nothing where it is to be asked again."""
        world = self._world
        try:
            accepted = await people.call(world.accounts[process])
        except errors.LoginRequired as error:
            if getattr(error, "proven", True):
                return str(error)
            return self._unsettled(process, UNPROVEN)
        except errors.OnerefreshError as error:
            world.say(process.name, f"{type(error).__name__}: {error}")
            if world.scenario.profile.rotates and any(task.hangs for task in process.tasks):
                return self._unsettled(process, HUNG)
            is_lost = isinstance(error, (errors.RefreshOutcomeUnknown, errors.RefreshProtocolError))
            never_again = world.scenario.never_resends or world.judge.answers.has_strangers
            return self._unsettled(process, UNKNOWN) if never_again and is_lost else ""
        return "usable" if accepted else ""

    def _unsettled(self, process: Process, answer: str) -> str:
        """What only a person can settle: an answer in the end, where it does not settle by itself."""
        self._world.say(process.name, answer)
        return answer if self._world.settling and self._world.timeline.now > self._asked_at + UNSETTLED else ""

    def _everybody_answered(self) -> bool:
        return all(process in self._answers for process in self._world.accounts if not process.ending)

    # --- The verdict ---

    def _judge_end(self) -> None:
        world, report = self._world, self._report
        judge, record = world.judge, world.store.record
        answers = [answer for process, answer in self._answers.items() if process in world.accounts]
        if unsettled := {UNPROVEN, UNKNOWN, HUNG}.intersection(answers):
            self._judge_unsettled(unsettled)
            return
        usable = [answer == "usable" for answer in answers]
        if len(reasons := {answer for answer in answers if answer != "usable"}) > 1:
            raise Broken("all are told the same reason", " / ".join(sorted(reasons)))
        is_dead = record is not None and record.state is State.DEAD
        if is_dead and record is not None and record.failure is not None:  # its access token may serve on for a while
            report.end, report.why = "dead", record.failure.detail
        elif What.WIPED in judge.happened_kinds and judge.person_failed:
            report.end = "wiped"  # what is left is the first token, long spent
        elif record is not None and record.is_logged_out:
            report.end = "logged out"
        elif all(usable):
            report.end = "usable"
        elif any(usable):
            raise Broken("all agree", f"{usable.count(False)} of {len(usable)} processes say that it is over")
        else:
            report.end, report.why = "dead", answers[0]
        if report.end == "dead":
            self._judge_loss(is_dead)
        if not world.scenario.faults:
            self._judge_calm()
        if not world.scenario.obtains and not world.scenario.host_saves:
            judge.words.judge(record, since=judge.unordered_at)
        if left := [host.name for host in world.hosts if host.spool]:
            raise Broken("nothing stays in the spool", f"on {', '.join(left)}")
        newest = judge.newest_kept
        if (
            newest is not None
            and record is not None
            and record.token is not None
            and newest != world.kept
            and not any(fault.what in _DEADLY for fault in judge.struck_faults)
        ):
            raise Broken("the host saves the newest token last", f"it keeps generation {world.kept.generation}")

    def _judge_unsettled(self, answers: set[str]) -> None:
        """A doubt stays only where the refresh token may have been spent before."""
        self._report.end, self._report.why = "unsettled", " / ".join(sorted(answers))
        judge = self._world.judge
        if (
            UNPROVEN in answers
            and not judge.guessed
            and self._world.scenario.old_record != "leased"  # nobody knows what its holder has sent
            and {fault.what for fault in judge.struck_faults} <= {What.DOUBTFUL}
            and What.FORK not in judge.happened_kinds  # the parent may have died with its request under way
        ):
            raise Broken("what is doubtful is asked again", self._report.why)

    def _judge_loss(self, is_dead: bool) -> None:
        world, judge = self._world, self._world.judge
        record = world.store.record
        lost = record.token if record is not None else None
        session = world.server.session_of[lost.reveal()] if lost is not None else 0
        if session in world.server.ended_by_hand and not world.scenario.obtains:
            return
        if session <= judge.wiped_sessions:
            return
        if world.scenario.obtains:
            raise Broken("a lost session is obtained anew", self._report.why)
        if not is_dead:
            raise Broken("a loss has a reason", f"the record is not dead, and yet: {self._report.why}")
        excuses = judge.excuses.of(lost)
        if not excuses & set(self._allowed(judge.happened_kinds)):
            said = ", ".join(sorted(excuses)) or "nothing that excuses it"
            raise Broken("the credential survives", f"it is lost after {said}")
        wait_async = not any(fault.what is What.LATE_REQUEST for fault in judge.struck_faults)
        forgetful = world.scenario.host_saves or judge.unordered  # whoever knew has died, or the store has forgotten it
        silent = excuses <= {Excuse.ANSWER, Excuse.CRASH} and self._report.why == INVALID_GRANT.detail
        if wait_async and not forgetful and silent:
            raise Broken("a loss has a reason", f"it is lost after {', '.join(sorted(excuses))}, and nobody is told")

    def _allowed(self, happened: set[What]) -> Iterator[Excuse]:
        """What excuses a loss at this kind of server."""
        world = self._world
        kind = world.scenario.manner.kind
        if kind is ServerKind.STATIC:
            return
        if kind is ServerKind.GRACE and keeps_grace_promise(world.scenario.profile):
            yield Excuse.UNWATCHED
            yield Excuse.ROLLBACK
            yield Excuse.UNSAVED
            if not world.scenario.manner.forgiving:
                yield Excuse.OVERRUN
            mishaps = sum(fault.what not in _HARMLESS for fault in world.judge.struck_faults)
            if What.OUTAGE in happened or mishaps > 1:  # the window is for one mishap
                yield Excuse.ANSWER
                yield Excuse.CRASH
            return
        yield from (Excuse.CRASH, Excuse.ANSWER, Excuse.UNSAVED, Excuse.ROLLBACK)
        if kind is ServerKind.REVOKE_FAMILY or (kind is ServerKind.GRACE and not world.scenario.manner.forgiving):
            yield Excuse.OVERRUN

    def _judge_calm(self) -> None:
        """Without faults there is one token request for each generation, and few where all are in vain."""
        world = self._world
        self._judge_storms()
        if any(happening.what not in (What.REVOKED, What.LOGIN, What.LOGOUT) for happening in world.judge.happenings):
            return
        events = world.judge.events
        gained = events.get(Kind.REFRESHED, 0) + world.judge.asked_in_vain
        gained += world.judge.excuses.count(Excuse.CRASH)  # a machine went in the end, and an answer with it
        if {What.LOGIN, What.LOGOUT} & world.judge.happened_kinds:  # they may overtake a renewal
            gained += events.get(Kind.ORPHANED, 0)
        if world.server.requests != gained:
            raise Broken("one request a generation", f"{world.server.requests} requests for {gained} generations")

    def _judge_storms(self) -> None:
        world, scenario = self._world, self._world.scenario
        lifetime = scenario.manner.expires_in
        if len(set(scenario.skews)) > 1 or (lifetime is not None and lifetime < 300.0):
            return
        forgotten = (What.LOGIN, What.VANISHED, What.WIPED, *LOSSES)  # failures are in the record
        begun = [happening.at for happening in world.judge.happenings if happening.what in forgotten]
        twice = [happening for happening in world.judge.happenings if happening.what is What.SAME_LOGIN]
        begun += [at for happening in twice for at in (happening.at, happening.at + happening.seconds)]
        for storm, count in world.storms:
            sessions = 1 + sum(0.0 <= at - storm.at <= storm.seconds for at in begun)  # each is tried anew
            most = sessions * (4.0 + math.log2(1.0 + 2.0 * storm.seconds))
            if storm.what is What.BAD_TARGET:  # what other targets refuse is counted apart, and tokens end meanwhile
                ended = [happening for happening in world.judge.happenings if happening.what is What.REVOKED]
                most = 2.0 * most + len(ended) + 2 * len(world.judge.struck_faults)
            if count > most:
                raise Broken("what is in vain is tried rarely", f"{count} token requests during: {storm}")
