"""Simulated processes: each drives its tasks' effects over the simulated world, and may pause, end or die."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests import effects
from tests.effects import Effect
from tests.simulator.faults import Fault, What, point_of
from tests.simulator.tasks import Ask, Ended, Pass, Task, Until

from onerefresh import errors, spool
from onerefresh.renewal import clocks
from onerefresh.renewal import world as renewal_world
from onerefresh.store import Conflict, Store, StoreOutcomeUnknown
from onerefresh.verdict import RefreshFailure

if TYPE_CHECKING:
    from tests.simulator.hosts import Host
    from tests.simulator.world import World

    from onerefresh.renewal.world import Spooled

__all__ = ["Process"]


def _read_again(entry: Spooled) -> Spooled:
    """The entry as the next process reads it: a file has no more than its text."""
    found, problem = spool._decoded(spool._encoded(entry))
    assert found is not None, problem
    return found


class Process:
    """One process on a host. `resumes_at`: it does not run before that moment."""

    def __init__(self, world: World, host: Host, name: str) -> None:
        self.world = world
        self.host = host
        self.name = name
        self.store = world.store
        self.born = world.timeline.now
        self.alive = True
        self.ending = False
        self.has_wrong_client = False  # until the run's faults are over
        self.is_visitor = False  # it ends by itself, and nobody starts another one for it
        self.resumes_at = host.asleep_until
        self.tasks: dict[Task, None] = {}
        self.renewals = 0
        self.first_read = math.inf  # when it read the record for the first time

    # --- What befalls it ---

    def crash(self) -> None:
        """It dies at once: nothing of it runs on, and its kernel lets its locks go."""
        if not self.alive:
            return
        self.alive = False
        self.world.say(self.name, "dies")
        self.world.judge.crashed(self)
        self.world.gone(self)
        for task in list(self.tasks):
            self._kill(task)

    def exit(self) -> None:
        """Its interpreter ends: what is sent is saved, whoever merely waits stops."""
        self.ending = True
        self.world.say(self.name, "its interpreter ends")
        for task in list(self.tasks):
            if task.is_caller:
                self._kill(task)
                continue
            task.disturbed = True
            if task.waits:
                self.world.timeline.after(0.1, self.wake, task, task.serial)
        self._perhaps_gone()

    def _kill(self, task: Task) -> None:
        task.over = True
        task.coroutine.close()
        self.tasks.pop(task, None)
        self._unlock(task)

    def _perhaps_gone(self) -> None:
        if self.ending and not self.tasks and self.alive:
            self.alive = False
            self.world.gone(self)

    def pause(self, seconds: float) -> None:
        """It does not run for some seconds; its locks stay."""
        self.resumes_at = max(self.resumes_at, self.world.timeline.now + seconds)
        self.world.say(self.name, f"is stopped for {seconds:.1f} s")
        self.world.judge.paused(self, seconds)

    # --- Running tasks ---

    def spawn(self, name: str, coroutine: Coroutine[Effect[Any], Any, Any], ended: Ended) -> Task:
        task = Task(self, name, coroutine, ended)
        if not self.alive:
            coroutine.close()
            task.over = True
            return task
        self.tasks[task] = None
        self.world.timeline.after(0.0, self._begin, task)
        return task

    def _begin(self, task: Task) -> None:
        self._resume(task, task.serial, None, None)

    def _resume(self, task: Task, serial: int, value: object, error: BaseException | None) -> None:
        """Give the task its effect's result and perform its next ones, until one takes time."""
        if task.over or serial != task.serial:
            return
        timeline = self.world.timeline
        if timeline.now < self.resumes_at:
            timeline.after(self.resumes_at - timeline.now, self._resume, task, serial, value, error)
            return
        if task.sending:
            task.sent_until = timeline.now
        coroutine, task.sending = task.coroutine, False
        self._has_sent(task, None)
        while True:
            try:
                effect = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                self._end(task, stop.value, None)
                return
            except errors.OnerefreshError as failure:
                self._end(task, None, failure)
                return
            value = error = None
            at_once = _AT_ONCE.get(type(effect))
            if at_once is None:
                break
            value = at_once(self, task, effect)
        task.serial += 1
        task.waits = task.holds_the_exit = False
        self._issue(task, effect)

    def _issue(self, task: Task, effect: Effect[Any]) -> None:
        world = self.world
        fault: Fault | None = None
        task.sending = type(effect) is effects.Send
        if isinstance(effect, effects.Send) and task.publish is not None:  # a renewal
            task.leased = effect.claim.record if effect.claim is not None else None
            self._has_sent(task, effect.claim)
            if task.has_sent is not None and task.leased is not None:
                task.has_sent(task.leased)
        if isinstance(effect, effects.Cas):
            world.judge.claims.asked(effect.record.lease, task)
        if world.faults_left and (task.looks is None or isinstance(effect, effects.Cas)):
            point = point_of(effect, holds_answer=task.has_answer)
            if point is not None and (fault := world.strike(point, task)) is not None:
                if fault.what is What.CRASH_BEFORE:
                    self.crash()
                    return
                if fault.what is What.EXIT:
                    self.exit()
                if fault.what is What.PAUSE_BEFORE:
                    self.pause(fault.seconds)
                if fault.what is What.ASLEEP_BEFORE:
                    world.sleep(self.host, fault.seconds)
        _TIMED[type(effect)](self, task, effect, fault)

    def _has_sent(self, task: Task, claim: clocks.Sent | None) -> None:
        """Under which claim a renewal waits for its answer: the look puts it back where the store has lost it."""
        account = self.world.accounts.get(self)
        if account is None or task.leased is None:
            return
        shared = account._memory
        if claim is not None or (shared.leased is not None and shared.leased.record is task.leased):
            shared.leased = claim

    def _end(self, task: Task, value: object, error: errors.OnerefreshError | None) -> None:
        task.over, task.ended_at = True, self.world.timeline.now
        self._unlock(task)
        self.tasks.pop(task, None)
        task.ended(value, error)
        self._perhaps_gone()

    def _unlock(self, task: Task) -> None:
        host = self.host
        if host.holder is task:
            host.holder = None
            waiting, host.freed = host.freed, []
            for other, serial in waiting:
                self.world.timeline.after(self.world.latency(), other.process.wake, other, serial)

    # --- Effects that take no time ---

    def _now(self, task: Task, effect: effects.Now) -> clocks.Instant:
        clock, world = self.host.clock, self.world
        jitter = (task.looks or world.rng).random()
        return clocks.Instant(clock.time(), clock.monotonic(), world.moment(self), jitter)

    def _afterwards(self, task: Task, effect: effects.Defer) -> None:
        self.spawn(f"{task.name} afterwards", effect.rest, lambda *_: None)

    def _revoke(self, task: Task, effect: effects.Revoke) -> str:
        self.world.say(repr(task), "revokes what a logout has made useless", "server")
        self.world.judge.revoked(task, effect.token)
        self.world.server.revoke(effect.token)
        return ""

    def _new_id(self, task: Task, effect: effects.NewId) -> str:
        self.world.attempts += 1
        name, task.named_at = f"a{self.world.attempts}", self.world.timeline.now
        task.named_here = self.host.clock.monotonic()
        if task.spending and task.has_answer and task.answer not in self.world.judge.saved:
            return name  # of the recovery lease with which it commits
        task.attempt, task.has_answer, task.spending = name, False, False
        return name

    def _turn(self, task: Task, effect: effects.Queue) -> bool:
        """Nobody limits renewals here: each has its turn at once."""
        return False

    def _tell(self, task: Task, effect: effects.Emit) -> None:
        event = effect.event
        self.world.judge.told(task, event)
        if self.world.account.kept:
            self.world.say(repr(task), str(event).partition(": ")[2] + (f" [{event.attempt}]" if event.attempt else ""))

    def _publish(self, task: Task, effect: effects.Deliver) -> None:
        if task.publish is not None:
            task.publish(effect.answer, effect.unsaved)

    # --- Effects that take time ---

    def _short(self, task: Task, effect: Effect[Any], fault: Fault | None) -> None:
        """An effect that happens at one moment, a little later."""
        seconds = self.world.latency(task.looks)
        if fault is not None and fault.what is What.SLOW_SAVE:
            seconds = fault.seconds
        self.world.timeline.after(seconds, self._perform, task, task.serial, effect, fault)

    def _perform(self, task: Task, serial: int, effect: Effect[Any], fault: Fault | None) -> None:
        if task.over or serial != task.serial:
            return
        timeline = self.world.timeline
        if timeline.now < self.resumes_at:
            timeline.after(self.resumes_at - timeline.now, self._perform, task, serial, effect, fault)
            return
        value: object = None
        error: BaseException | None = None
        try:
            value = _SHORT[type(effect)](self, task, effect, fault)
        except (errors.OnerefreshError, Conflict, StoreOutcomeUnknown) as failure:
            error = failure
        if fault is not None and self._strikes_after(fault):
            return
        self._resume(task, serial, value, error)

    def _strikes_after(self, fault: Fault) -> bool:
        """Whether the process died of it."""
        if fault.what is What.CRASH_AFTER:
            self.crash()
        elif fault.what is What.PAUSE_AFTER:
            self.pause(fault.seconds)
        elif fault.what is What.ASLEEP_AFTER:
            self.world.sleep(self.host, fault.seconds)
        elif fault.what is What.ROLLBACK:
            self.world.roll_back(fault.seconds)
        return not self.alive

    def _load(self, task: Task, effect: effects.Load, fault: Fault | None) -> renewal_world.Loaded:
        if fault is not None and fault.what is What.STORE_DOWN:
            self.world.store_goes_down(fault.seconds)
        loaded = self.store.load()
        self.first_read = min(self.first_read, self.world.timeline.now)
        if task.looks is None:  # a look is no watch: nobody takes over there
            self.world.judge.claims.loaded(task, loaded)
        return loaded

    def _cas(self, task: Task, effect: effects.Cas, fault: Fault | None) -> str:
        world = self.world
        what = fault.what if fault is not None else None
        if fault is not None and what in (What.STORE_DOWN, What.DOWN_THEN_EMPTY):
            world.store_goes_down(fault.seconds, then_empty=what is What.DOWN_THEN_EMPTY)
        if what is What.UNKNOWN_LOST:
            world.say(repr(task), "does not hear of its write, which was not applied")
            raise StoreOutcomeUnknown("the request was lost")
        if what is What.UNKNOWN_LATER:
            world.say(repr(task), "does not hear of its write, which is applied later")
            world.judge.claims.abandoned(task)
            world.timeline.after(world.rng.uniform(0.001, 0.02), self._late_cas, task, effect)
            raise StoreOutcomeUnknown("the answer was lost")
        world.writer = task
        version = self.store.cas(effect.expected, effect.record)
        if what is What.UNKNOWN_APPLIED:
            world.say(repr(task), "does not hear of its write, which was applied")
            raise StoreOutcomeUnknown("the answer was lost")
        return version

    def _late_cas(self, task: Task, effect: effects.Cas) -> None:
        self.world.writer = task
        try:
            self.store.cas(effect.expected, effect.record)
        except (Conflict, errors.StoreUnavailable):
            return  # somebody was faster, or the store went down: then it never is applied

    def _take(self, task: Task, effect: effects.Enter, fault: Fault | None) -> object:
        return self.world.take(task)

    def _drop(self, task: Task, effect: effects.Leave, fault: Fault | None) -> None:
        self._unlock(task)

    def _prepare(self, task: Task, effect: effects.Prepare, fault: Fault | None) -> None:
        """Name look-ups, TLS and discovery are done."""

    def _read_spool(self, task: Task, effect: effects.ReadSpool, fault: Fault | None) -> Spooled | None:
        return next(iter(self.host.spool.values()), None)

    def _write_spool(self, task: Task, effect: effects.WriteSpool, fault: Fault | None) -> bool:
        world, host = self.world, self.host
        if fault is not None and fault.what is What.SPOOL_FAILS:
            host.spool_fails_until = world.timeline.now + fault.seconds
        if world.timeline.now < host.spool_fails_until or world.scenario.host_saves:
            world.judge.spool_failed(task)
            return False
        host.spool[effect.entry.attempt] = _read_again(effect.entry)
        host.spooled |= {effect.entry.attempt, world.server.name_of(effect.entry.token)}
        world.judge.spooled(task, effect.entry)
        return True

    def _drop_spool(self, task: Task, effect: effects.DropSpool, fault: Fault | None) -> None:
        self.world.judge.dropped(task, effect.entry)
        self.host.spool.pop(effect.entry.attempt, None)

    def _report_loss(self, task: Task, effect: effects.ReportLoss, fault: Fault | None) -> str:
        world = self.world
        if fault is not None and fault.what is What.NOTE_FAILS:
            world.note_fails_until = world.timeline.now + fault.seconds
        if self.store.is_down or world.timeline.now < world.note_fails_until:
            world.say(repr(task), "cannot note the loss")
            return ""
        world.losses += 1
        return f"{world.note}:{world.losses}"

    def _read_note(self, task: Task, effect: effects.ReadNote, fault: Fault | None) -> renewal_world.Note | None:
        if self.store.is_down:
            raise errors.StoreUnavailable("the simulated store is down")
        losses = self.world.losses
        return renewal_world.Note(str(self.world.note), losses, losses, is_named=losses > 0)

    def _clear_spool(self, task: Task, effect: effects.ClearSpool, fault: Fault | None) -> None:
        self.host.spool.clear()

    def _save(self, task: Task, effect: effects.Save, fault: Fault | None) -> None:
        world, host = self.world, self.host
        if fault is not None and fault.what is What.SAVE_FAILS:
            host.save_fails_until = world.timeline.now + fault.seconds
        fails = world.timeline.now < host.save_fails_until
        if not fails:
            world.say(repr(task), f"saves generation {effect.token.generation}", "the host's storage")
            world.judge.kept(effect.token)
            world.kept = effect.token
        if fails or (fault is not None and fault.what is What.SAVE_UNHEARD):
            world.judge.save_failed(task)
            raise errors.SaveFailed("the host's storage failed")

    # --- Waiting ---

    def wake(self, task: Task, serial: int, value: object = None) -> None:
        """Let a waiting task go on, unless it has gone on already."""
        if not task.over and serial == task.serial:
            self._resume(task, serial, value, self._closed(task))

    def _closed(self, task: Task) -> errors.CredentialClosed | None:
        ends = self.ending and not task.is_caller and not task.holds_the_exit
        return errors.CredentialClosed("the interpreter is ending") if ends else None

    def _watch(self, task: Task, effect: effects.Watch, fault: Fault | None) -> None:
        world, serial, task.waits = self.world, task.serial, True
        what = fault.what if fault is not None else None
        seconds = effect.seconds
        if what is What.EARLY_WAKE or self.ending:
            seconds *= world.rng.random() * 0.1
        if what is What.NO_WAKE:
            seconds = min(seconds, Store.look_every)  # a wake-up is a hint: who waits reads the record itself
        world.timeline.after(seconds, self.wake, task, serial)
        if what is not What.NO_WAKE:
            if self.store.version != effect.version:
                world.timeline.after(world.latency(), self.wake, task, serial)
            else:
                self.store.changed.append(lambda: world.timeline.after(world.latency(), self.wake, task, serial))
            if self.host.holder is not None:
                self.host.freed.append((task, serial))
            elif self._watches_the_dead():  # no lock wakes it: as a store does, it looks for itself
                world.timeline.after(min(seconds, Store.look_every), self.wake, task, serial)
        if fault is not None:
            self._strikes_after(fault)

    def _watches_the_dead(self) -> bool:
        """Whether the holder of the present attempt died before anybody could wait for its lock."""
        record = self.store.record
        claim = self.world.judge.claims.named(record.lease.id) if record is not None and record.lease else None
        return claim is not None and claim.death_proof is not None and claim.task.crashed

    def _sleep(self, task: Task, effect: effects.Sleep, fault: Fault | None) -> None:
        task.waits, task.holds_the_exit = not effect.holds_the_exit, effect.holds_the_exit
        at_once = self.ending and task.waits
        self.world.timeline.after(0.0 if at_once else effect.seconds, self.wake, task, task.serial)
        if fault is not None:
            self._strikes_after(fault)

    def _pass(self, task: Task, effect: Pass, fault: Fault | None) -> None:
        self.world.timeline.after(effect.seconds, self._resume, task, task.serial, None, None)

    def _until(self, task: Task, effect: Until, fault: Fault | None) -> None:
        if effect.flight.settled:
            self.world.timeline.after(0.0, self._resume, task, task.serial, True, None)
            return
        self.world.waiters.setdefault(effect.flight, []).append((task, task.serial))
        self.world.timeline.after(max(effect.seconds, 0.0), self._resume, task, task.serial, False, None)

    def _ask(self, task: Task, effect: Ask, fault: Fault | None) -> None:
        self.world.timeline.after(self.world.rng.uniform(0.01, 0.2), self._asked, task, task.serial, effect)

    def _asked(self, task: Task, serial: int, effect: Ask) -> None:
        if not task.over:
            accepted = self.world.server.accepts(effect.access, self.world.timeline.now, effect.path)
            self._resume(task, serial, accepted, None)

    def _send(self, task: Task, effect: effects.Send, fault: Fault | None) -> None:
        self.world.network.send(task, effect, fault)

    def answered(self, task: Task, serial: int, value: object, failure: RefreshFailure | None) -> None:
        """The answer to its token request is here, or will not come."""
        self._resume(task, serial, value, failure)


_AT_ONCE: dict[type, Callable[[Process, Task, Any], Any]] = {
    effects.Now: Process._now,
    effects.NewId: Process._new_id,
    effects.Queue: Process._turn,
    effects.Emit: Process._tell,
    effects.Deliver: Process._publish,
    effects.Revoke: Process._revoke,
    effects.Defer: Process._afterwards,
}
_SHORT: dict[type, Callable[[Process, Task, Any, Fault | None], Any]] = {
    effects.Load: Process._load,
    effects.Cas: Process._cas,
    effects.Enter: Process._take,
    effects.Leave: Process._drop,
    effects.Prepare: Process._prepare,
    effects.ReadSpool: Process._read_spool,
    effects.WriteSpool: Process._write_spool,
    effects.DropSpool: Process._drop_spool,
    effects.ClearSpool: Process._clear_spool,
    effects.Save: Process._save,
    effects.ReportLoss: Process._report_loss,
    effects.ReadNote: Process._read_note,
}
_TIMED: dict[type, Callable[[Process, Task, Any, Fault | None], None]] = {
    **dict.fromkeys(_SHORT, Process._short),
    effects.Watch: Process._watch,
    effects.Sleep: Process._sleep,
    effects.Send: Process._send,
    Pass: Process._pass,
    Until: Process._until,
    Ask: Process._ask,
}
