"""The promises, watched over in every run: what is broken is said at the moment it breaks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.effects import Send
from tests.simulator import server
from tests.simulator.answers import Answers
from tests.simulator.background import Ageing
from tests.simulator.broken import Broken
from tests.simulator.claims import Claims
from tests.simulator.copies import goes_on_from_a_login, judge_copy
from tests.simulator.excuses import Excuse, Excuses, promised_time_to_live
from tests.simulator.faults import LOSSES, Fault, Happening, Point, What
from tests.simulator.founding import insists_on_a_used_token, judge_founding, last_of
from tests.simulator.network import STRANGER
from tests.simulator.scenario import HTTP_TIMEOUT
from tests.simulator.targets import Targets
from tests.simulator.words import Words

from onerefresh import errors
from onerefresh.events import Event, Kind
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.world import Spooled
from onerefresh.token import Token

if TYPE_CHECKING:
    from tests.simulator.hosts import Host
    from tests.simulator.process import Process
    from tests.simulator.tasks import Task
    from tests.simulator.world import World

__all__ = ["Judge"]

MOST_REFUSALS = 6
"""Times that one refresh token may be refused: by those who were under way, and once more after each fault."""
SESSION = "session"
"""In the place of a family: the newest session whose token a process has used."""
_LOST = frozenset({What.WIPED, What.VANISHED, *LOSSES})
AT_ONCE = 0.5
"""Seconds that a running process needs at most to bring a new token to a safe place, with the store down."""


class Judge:
    """Sees everything, and raises `Broken`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.excuses = Excuses(world)
        self.struck_faults: list[Fault] = []
        self.happenings: list[Happening] = []
        self.happened_kinds: set[What] = set()
        self.asked_in_vain = 0  # for a session that a logout has ended at the server, or that died with a machine
        self._refused: dict[tuple[str, int], int] = {}
        self.events: dict[Kind, int] = {}
        self.saved: set[str] = set()  # in the store, or in a spool
        self.stored: set[str] = set()
        self.identities: dict[tuple[str, int], str] = {}
        self.claims = Claims(world)
        self.answers = Answers(world)
        self.background = Ageing(world)
        self.targets = Targets(world)
        self.calls_ended = self.calls_accepted = self.calls_failed = 0
        self.refusals: dict[tuple[str, int], float] = {}
        self._store_went_down = self.has_vanished = self.person_failed = False
        self.words = Words()
        self.unordered_at = 0.0
        self.newest_kept: Token | None = None  # of those that the host has saved
        self.wiped_sessions = 0  # those up to this one
        self.guessed = False  # somebody sent what may have been used up before the store lost it
        self.begun_anew = False  # with a first token, after the store had lost the record
        self.unordered = False  # the store went back or was wiped: generations need not grow
        self._commit: tuple[float, Task, float] | None = None  # the last one: when, by whom, his time to live
        self._repaired_by = 0.0
        self._never_looked: Task | None = None  # it committed, and died before it could look again
        self._best: dict[
            Process, dict[str, int]
        ] = {}  # the newest generation that it has used, of each family; SESSION
        self._began: dict[Task, tuple[int, Token | None]] = {}

    # --- The store ---

    def written(self, before: Record | None, after: Record, writer: Task | None) -> None:
        """A write was applied."""
        if after.token is not None and after.token.reveal() == STRANGER:
            raise Broken("another account's token is kept by nobody", f"generation {after.generation}")
        self.begun_anew |= before is None and self.unordered and last_of(after) == "seed"
        if before is not None and after.generation < before.generation:
            raise Broken("the store never goes backwards", f"from {before.generation} to {after.generation}")
        if before is None and self.has_vanished and writer in self._began:  # a person's command founds what it likes
            judge_founding(self._world, after, writer)
        if after.token is not None and (before is None or before.identity != after.identity):
            self._new_token(before, after, after.token, writer)
        elif before is not None and after.token is not None and before.token != after.token:
            raise Broken("a generation is one token", f"generation {after.generation} was exchanged")
        if after.state is State.LEASED and after.lease is not None:
            self._claimed(before, after, after.lease, writer)
        if (
            writer is not None
            and after.committed_by is not None
            and (before is None or after.committed_by != before.committed_by)
        ):
            claim = self.claims.named(after.committed_by)
            self._commit = (self._world.timeline.now, writer, claim.ttl if claim is not None else math.inf)
            self.background.refreshed(before, after, claim.born if claim is not None else None)
        if after.state is State.DEAD and (before is None or before.state is not State.DEAD):
            self._died(after, writer)
        self.answers.written(before, after, writer)
        if after.token is not None and not self._world.scenario.host_saves:
            self._is_stored(after.token)

    def found_before(self, record: Record) -> None:
        """What the store holds when the run begins."""
        assert record.token is not None
        self.identities[record.identity] = record.token.reveal()
        self._is_stored(record.token)

    def kept(self, token: Token) -> None:
        """The host has saved a token itself."""
        if self.newest_kept is None or token.generation >= self.newest_kept.generation:
            self.newest_kept = token
        self._is_stored(token)

    def _is_stored(self, token: Token) -> None:
        self.saved.add(name := self._world.server.name_of(token))
        self.stored.add(name)

    def new_memory(self) -> None:
        """A process begins whose memory is its store: generations are numbered anew."""
        self.identities.clear()
        self.kept(self._world.kept)
        self.newest_kept = None

    def save_failed(self, task: Task) -> None:
        task.save_failed = True
        if task not in self._began:  # a login: the host has the session of before
            self.excuses.add(Excuse.UNSAVED, self._world.kept)

    def _died(self, dead: Record, writer: Task | None) -> None:
        """A session was declared dead: nobody who could have saved its living token for so long may still hold it."""
        world = self._world
        if writer is not None and writer.refused_at:  # others may have been refused since, with late requests
            self.refusals[dead.identity] = writer.refused_at
        for process in world.accounts:
            for task in process.tasks:
                if task is not writer and task.spending and task.has_answer and task.answer not in self.stored:
                    since = max(world.store.down_until, process.resumes_at, task.answered_at)
                    if world.timeline.now - since > HTTP_TIMEOUT:
                        raise Broken("a new token is saved as soon as it can be", f"{task} still holds the living one")

    def _new_token(self, before: Record | None, after: Record, token: Token, writer: Task | None) -> None:
        access, world = self._world.server.name_of(token), self._world
        known = self.identities.setdefault(after.identity, access)
        if known != access and not self.unordered:
            raise Broken("a generation is one token", f"generation {after.generation} has been another token")
        issued_for = world.server.issued_for[access]
        insists = insists_on_a_used_token(world, before, after, token)
        if issued_for is None:
            same = before is not None and before.family == after.family and not insists
            same = same and world.scenario.manner.kind is not server.Kind.STATIC  # an old one costs a refresh there
            # A second login with one token is later than what the first has come to, where the store lost them both.
            same = same and not (What.SAME_LOGIN in self.happened_kinds and self.unordered)
            held = before.token if before is not None else None
            if same and held is not None and world.server.name_of(held) != access:
                raise Broken("a token is never overwritten by an older one", f"at generation {after.generation}")
            return
        if last_of(after) == "login" or (world.scenario.host_saves and last_of(after) == "seed"):
            return  # the newest that its process knows of this session, or what the host has kept of an earlier process
        if before is None and (self.unordered or world.scenario.host_saves):
            return  # the store had lost the record, or is the memory of a new process that was given what was saved
        if before is None or before.token is None or before.token.refresh_token is None:
            raise Broken("a commit follows what it was issued for", f"generation {after.generation} follows nothing")
        spent = before.token.refresh_token.reveal()
        if spent != issued_for and not self.claims.answers_a_namesake(before, after, issued_for):
            sessions, began = world.server.session_of, world.server.session_of[before.token.reveal()]
            same = sessions[access] == began and before.family == after.family
            # A login after the store had lost the record may have no higher number than what others bring back.
            least = before.generation + (sessions[access] <= began)
            repaired = self.unordered and after.generation >= least
            is_later = before.family in after.families[:-1]  # a login that was lost
            if not (repaired and (same or is_later) and world.is_known(access, writer)):
                raise Broken(
                    "a commit follows what it was issued for",
                    f"generation {after.generation} was issued for another token than generation {before.generation}",
                )
        refused_at = self.refusals.get(before.identity)
        is_own = writer is None or access == writer.answer  # else a forked child brings back what its parent had
        if before.state is State.DEAD and refused_at is not None and not self.unordered and is_own:
            waited = world.timeline.now - refused_at
            if waited < HTTP_TIMEOUT - 0.5:
                raise Broken(
                    "a session is declared dead only after a wait for a late commit",
                    f"it came {waited:.2f} s after the refusal",
                )

    def _claimed(self, before: Record | None, after: Record, lease: Lease, writer: Task | None) -> None:
        assert writer is not None
        self.guessed |= lease.guess and not lease.is_recovery
        other = before.lease if before is not None and before.state is State.LEASED else None
        _, known = self._began.get(writer, (0, None))
        latest = self._world.known_to(writer)
        if latest is None or (known is not None and known.family != latest.family):
            known = latest  # it has seen a logout or a login since, and the store may have lost that, too
        if known is not None and known.family == after.family and known.generation > after.generation:
            raise Broken(
                "nobody spends an older generation than he knows",
                f"{writer} claimed generation {after.generation} and knew {known.generation}",
            )
        self.claims.made(lease, other, after, writer)

    def rolled_back(self) -> None:
        """Whoever committed last looks again; until then the old refresh token may be sent once more."""
        self.unordered, now = True, self._world.timeline.now
        self.unordered_at = now
        self.claims.forget_watchers()
        self._repaired_by = math.inf
        if self._commit is not None:
            at, _, ttl = self._commit
            looks = [at + seconds for seconds in (1.0, 10.0, ttl / 2.0) if at + seconds > now]
            self._repaired_by = min(looks, default=math.inf) + AT_ONCE

    def wiped(self) -> None:
        """Somebody emptied the store and logs in: the session that was there before may be spent twice."""
        self.unordered = True
        self.unordered_at = self._world.timeline.now
        self.wiped_sessions = self._world.server.sessions

    def vanished(self) -> None:
        """The store lost the record, and whoever knows it must found it again."""
        self.unordered, self.has_vanished = True, True
        self.unordered_at = self._world.timeline.now

    def forgotten(self, lost: Record | None) -> None:
        """The store has lost this record. Its token is lost with it if no running process and no spool has that."""
        world, record, token = self._world, self._world.store.record, lost.token if lost is not None else None
        if token is None or (record is not None and record.identity == token.identity):
            return
        running = [process for process in world.accounts if not process.ending]
        if any(task.answer == world.server.name_of(token) for process in running for task in process.tasks):
            return
        known = [world.accounts[process]._memory.newest for process in running]
        spooled = [entry.as_next() for host in world.hosts for entry in host.spool.values()]
        same = [one for one in (*known, *spooled) if one is not None and one.family == token.family]
        if all(one.generation < token.generation for one in same):
            self.excuses.add(Excuse.ROLLBACK, token)

    # --- Renewals ---

    def began(self, task: Task) -> None:
        record = self._world.store.record
        self._began[task] = (record.generation if record is not None else 0, self._world.known_to(task))

    def renewed(self, task: Task, value: object, error: errors.OnerefreshError | None) -> None:
        """A renewal is over."""
        before, _ = self._began.pop(task, (0, None))
        if isinstance(value, Outcome) and value.token.generation < before and not self.unordered:
            raise Broken(
                "nobody is given an older token than was there when he asked",
                f"{task} began at generation {before} and ended with {value.token.generation}",
            )
        self._gave_up(task)

    def _gave_up(self, task: Task) -> None:
        if not task.spending or task.answer in self.stored:
            return
        if task.answer in self.saved:  # in the spool of a host on which perhaps nobody asks
            self.excuses.add(Excuse.OVERRUN, task.spent)
            return
        if task.spool_failed or task.save_failed:
            self.excuses.add(Excuse.UNSAVED, task.spent)
            return
        record = task.process.store.record
        if self._world.scenario.host_saves and (
            record is None or record.token is None or self._world.server.name_of(record.token) != task.answer
        ):
            return  # a login or logout has overtaken it
        raise Broken("a new token is not given up", f"{task} ended without having saved it")

    def told(self, task: Task, event: Event) -> None:
        self.events[event.kind] = self.events.get(event.kind, 0) + 1
        self.claims.told(task, event)
        self.background.told(task, event)
        if event.kind is Kind.ORPHANED:
            self._orphaned(task)

    def _orphaned(self, task: Task) -> None:
        """It says that its token came too late: the generation that it was issued for must be gone."""
        record, claim = self._world.store.record, self.claims.of(task)
        task.spending = False
        outdated = self.has_vanished and self._is_outdated(task)
        if (
            record is not None
            and record.committed_by is not None
            and record.committed_by == task.attempt
            and not outdated
        ):
            raise Broken("what is said is so", f"{task} says that its token came too late, and it is the present one")
        if record is None and self.has_vanished and not outdated:
            raise Broken("a new token is not given up", f"{task} threw it away because the record had vanished")
        if record is None or claim is None or record.token is None or self.unordered:
            return
        spent, present = self._world.server.issued_for.get(task.answer or ""), record.token.refresh_token
        rotates = self._world.scenario.manner.kind is not server.Kind.STATIC
        over = self._world.server.session_of[record.token.reveal()] in self._world.server.ended_by_hand
        if rotates and not over and present is not None and present.reveal() == spent:
            raise Broken("a new token is not given up", f"{task} threw away the answer to the present generation")

    def _is_outdated(self, task: Task) -> bool:
        """Whether its process has gone on from the token that it brings, or to another session."""
        known, claim = self._world.known_to(task), self.claims.of(task)
        if known is None or claim is None or claim.token is None or known.generation > claim.generation:
            return True
        return self.claims.is_overtaken(task.attempt)

    def revoked(self, task: Task, token: Token) -> None:
        """It tells the server that a session is over: nobody may have gone on with it."""
        record, session_of = task.process.store.record, self._world.server.session_of
        if record is None or record.token is None or self.unordered or What.SAME_LOGIN in self.happened_kinds:
            return
        if session_of[record.token.reveal()] == session_of[token.reveal()]:
            raise Broken("a session in use is not revoked", f"{task} revokes generation {record.generation}")

    def somebody_spends(self) -> bool:
        """Whether a token request is on its way, or a new token is not saved yet."""
        tasks = (task for process in self._world.accounts for task in process.tasks)
        return any(
            not task.hangs and (task.sending or (task.spending and task.answer not in self.saved)) for task in tasks
        )

    def spooled(self, task: Task, entry: Spooled) -> None:
        self.saved.add(self._world.server.name_of(entry.token))

    def dropped(self, task: Task, entry: Spooled) -> None:
        """An entry of the spool is deleted: not while it has the newest token of the last login.

        A store may forget that token after it has acknowledged it, which its process cannot know yet.
        """
        world, record = self._world, self._world.store.record
        if world.server.name_of(entry.token) in self.stored:
            return
        session_of, session = world.server.session_of, world.server.session_of[entry.token.reveal()]
        is_last = session == world.server.sessions and session not in world.server.ended_by_hand
        present = record.token if record is not None else None
        if not is_last or self.wiped_sessions or world.scenario.obtains or (record is not None and present is None):
            return
        if record is not None and What.SAME_LOGIN in self.happened_kinds and goes_on_from_a_login(record):
            return  # somebody has logged in again with an earlier token: that is the last login, whatever its session
        if present is None or session_of[present.reveal()] < session:
            raise Broken(
                "a spooled token is not given up for an earlier session",
                f"{task} deletes generation {entry.generation + 1} of the last login",
            )

    def spool_failed(self, task: Task) -> None:
        task.spool_failed = True
        self._kept_away(task, max(self._world.store.down_until - self._world.timeline.now, 0.0))

    # --- The token endpoint ---

    def sends(self, task: Task, effect: Send) -> None:
        task.spent, record = effect.token, task.process.store.record
        if self._world.scenario.host_saves and record is not None and record.unsaved and record.token == effect.token:
            raise Broken("a new token is saved before the next one is asked for", f"{task} sends")
        if effect.grant is Grant.REFRESH:
            judge_copy(self._world, task, effect.token)
            self.answers.sends(task, effect.token)
        self.background.sends(task, effect.token)

    def rotated(self, task: Task, effect: Send, grant: server.Grant) -> None:
        task.spending, task.answer, task.has_answer = True, grant.access, False
        if task.over:
            self.excuses.add(Excuse.CRASH, effect.token)

    def refused(self, task: Task, effect: Send, refusal: server.Refused) -> None:
        now, token = self._world.timeline.now, effect.token
        if token is None:
            return
        task.refused_at, record = now, self._world.store.record
        if record is None or record.state is not State.DEAD:  # else it is no ground of the death, which came before
            self.refusals[token.identity] = now
        ended_by_hand = self._world.server.session_of[token.reveal()] in self._world.server.ended_by_hand
        self.asked_in_vain += ended_by_hand or Excuse.CRASH in self.excuses.of(token)
        count = self._refused[token.identity] = self._refused.get(token.identity, 0) + 1
        if count > MOST_REFUSALS:
            raise Broken("a dead session is not asked for again", f"generation {token.generation}: {count} times")
        if self.unordered and self._nobody_repaired(now):
            self.excuses.add(Excuse.ROLLBACK, token)
        if self._world.scenario.manner.kind is not server.Kind.GRACE:
            return
        if refusal.spent is not None and not self.claims.somebody_watched(token.generation, refusal.spent):
            self.excuses.add(Excuse.UNWATCHED, token)

    def _nobody_repaired(self, now: float) -> bool:
        """Whether a store that went back could not have been repaired yet."""
        if self._commit is None or len(self.struck_faults) > 1 or self.happened_kinds & _LOST:
            return True
        if any(fault.what in LOSSES for fault in self.struck_faults):
            return True
        committer = self._commit[1]
        is_gone = committer.process.ending or committer is self._never_looked
        return now <= self._repaired_by or committer.disturbed or is_gone

    def answer_lost(self, task: Task, effect: Send, *, late: bool = False) -> None:
        """`late`: the request arrives when others may have gone on."""
        task.spending = False
        self.excuses.add(Excuse.ANSWER, effect.token, onwards=late)

    def slow(self, task: Task, seconds: float) -> None:
        self._kept_away(task, seconds)

    # --- Faults ---

    def struck(self, fault: Fault) -> None:
        self.struck_faults.append(fault)

    def happened(self, happening: Happening) -> None:
        self.happenings.append(happening)
        self.happened_kinds.add(happening.what)

    def crashed(self, process: Process) -> None:
        now = self._world.timeline.now
        if self._commit is not None and self._commit[1].process is process and now <= self._repaired_by:
            self._never_looked = self._commit[1]
        for task in process.tasks:
            task.crashed, task.disturbed, task.ended_at = True, True, now
            if task.spending and task.answer in self.saved and task.answer not in self.stored:
                self.excuses.add(Excuse.OVERRUN, task.spent)
            if task.spending and task.answer not in self.saved:
                since = max(task.answered_at, process.resumes_at)
                if task.has_answer and now - since > AT_ONCE and not self._cannot_save(task):
                    raise Broken(
                        "a new token is brought to a safe place at once",
                        f"{task} had it for {now - since:.1f} s and died",
                    )
                forked = What.FORK in self.happened_kinds  # a child may bring back what is not saved
                self.excuses.add(Excuse.CRASH, task.spent, onwards=forked)

    def _cannot_save(self, task: Task) -> bool:
        slow = any(fault.what is What.SLOW_SAVE for fault in self.struck_faults)
        return task.spool_failed or task.save_failed or slow

    def paused(self, process: Process, seconds: float) -> None:
        for task in process.tasks:
            task.disturbed = True
            self._kept_away(task, seconds)

    def cut_off(self, seconds: float) -> None:
        self._store_went_down = True
        for process in self._world.accounts:
            for task in process.tasks:
                task.disturbed = True
                self._kept_away(task, seconds)
        record = self._world.store.record
        if seconds > promised_time_to_live(self._world) - HTTP_TIMEOUT:
            self.excuses.add(Excuse.OVERRUN, record.token if record is not None else None)

    def _kept_away(self, task: Task, seconds: float) -> None:
        """A holder that has passed its gate is kept from going on."""
        claim = self.claims.of(task)
        if claim is None or not (task.sending or (task.spending and task.answer not in self.stored)):
            return
        age = self._world.timeline.now - claim.born
        if age + seconds + 2 * AT_ONCE > promised_time_to_live(self._world):
            self.excuses.add(Excuse.OVERRUN, claim.token)

    def slept(self, host: Host) -> None:
        """A machine's own clock has stood still: only a store that has a clock can tell it how old its attempts are."""
        if self._world.scenario.has_clock and not self._store_went_down:
            return
        for process in host.processes:
            for task in process.tasks:
                if (claim := self.claims.of(task)) is not None:
                    self.excuses.add(Excuse.OVERRUN, claim.token)

    # --- Callers ---

    def asking(self, process: Process) -> dict[str, int]:
        return dict(self._best.get(process, {}))

    def handed_out(self, process: Process, token: Token, best: dict[str, int], *, refused: bool = False) -> None:
        """A caller was given a token; `refused`: after the API had refused one."""
        if token.reveal() not in self.saved:
            raise Broken("nobody uses a token that was not saved", f"{process.name}, generation {token.generation}")
        asked = best.get(token.family, 0)
        if token.generation < asked and not self.unordered:
            raise Broken("a process never goes back", f"{process.name}: generation {token.generation} after {asked}")
        self.background.handed_out(process, token, refused=refused)
        session = self._world.server.session_of[token.reveal()]
        logins = [happening for happening in self.happenings if happening.what in (What.LOGIN, What.SAME_LOGIN)]
        sessions = len(logins) + self._world.scenario.obtains  # what is obtained begins one, too
        if session < best.get(SESSION, 0) and not self.unordered and sessions < 2:
            raise Broken("a process never goes back", f"{process.name}: session {session} after {best[SESSION]}")
        known = self._best.setdefault(process, {})
        known[token.family] = max(known.get(token.family, 0), token.generation)
        known[SESSION] = max(known.get(SESSION, 0), session)

    def call_ended(self, *, accepted: bool) -> None:
        self.calls_ended += 1
        self.calls_accepted += accepted

    def call_failed(self, process: Process, error: errors.OnerefreshError) -> None:
        self.calls_failed += 1
        self.answers.told(error)
        if isinstance(error, (errors.RefresherFailed, errors.ConfigurationError)):
            raise Broken("errors are what they say", f"{process.name}: {type(error).__name__}: {error}")
        struck = {fault.what for fault in self.struck_faults} | self.happened_kinds
        if (
            isinstance(error, errors.RefreshProtocolError) and not struck & {What.GARBAGE, What.USELESS, What.STRANGER}
        ) or (isinstance(error, errors.ClientRejected) and What.REJECTED not in struck):
            raise Broken("errors are what they say", f"{process.name}: {error}")
        if isinstance(error, errors.SaveFailed) and not any(fault.point is Point.SAVE for fault in self.struck_faults):
            raise Broken("errors are what they say", f"{process.name}: {error}")

    def call_lasted(self, process: Process, began: float) -> None:
        lasted = self._world.timeline.now - began
        if lasted > 125.0 and process.resumes_at < began:
            raise Broken("waiting is bounded", f"a call of {process.name} took {lasted:.0f} s")

    def person_done(self, name: str, value: object, error: errors.OnerefreshError | None) -> None:
        self._world.say("person", f"{name}: {'done' if error is None else error}")
        self.person_failed = self.person_failed or error is not None
