"""A world of a few processes as one value: what may happen next, and the world after it.

The store, the server, the spools and the lock are plain values, and a process is its position: so a world is copied
rather than undone, and any schedule can be gone on with from anywhere. Time stands still as long as anybody can act.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

from tests.exhaust import judge, keys
from tests.exhaust.broken import Broken
from tests.exhaust.operations import Answer, Answered, Box, Do, Note, Operation, Performer, Position, Spool
from tests.exhaust.setups import ACCESS, GRACE, HTTP_TIMEOUT, OUTAGE, REFRESH, Server, Setup
from tests.exhaust.shapes import NAME

from onerefresh.verdict import FailureKind

__all__ = ["Choice", "Process", "World"]

UNTIL_TIME_MOVES = math.inf
POLL = 0.5
"""Seconds after which a process looks again where its lock cannot wake it: its holder is dead already."""

NO_ANSWER = (Answered.FAILED, FailureKind.NO_ANSWER, "no answer came back")
SERVER_ERROR = (Answered.FAILED, FailureKind.SERVER_ERROR, "answered 500")
UNREACHABLE = (Answered.FAILED, FailureKind.UNAVAILABLE, "the token endpoint cannot be reached")
INVALID_GRANT = (Answered.FAILED, FailureKind.DEAD, "invalid_grant")
NOTHING: Answer = (Answered.NOTHING, None, None)
UNAVAILABLE: Answer = (Answered.UNAVAILABLE, None, None)

Choice = tuple[int, str]
"""Which process goes on (or -1: time, -2: a late write), and what goes wrong (nothing: an empty text)."""
TIME, LATE = -1, -2
CRASH, STOP, STOP_AFTER = "crash", "stopped while time moves", "stopped with its answer"
DOWN, LONG_DOWN = "store down until time moves", f"store down for {OUTAGE:.0f} s"
APPLIED, NOT_APPLIED, APPLIED_LATER = "unknown: applied", "unknown: not applied", "unknown: applied later"
LOST_REQUEST, LOST_ANSWER, ERROR_AFTER, NOT_REACHED = (
    "request lost",
    "answer lost",
    "error after rotating",
    "unavailable",
)
UNWRITABLE = "spool unwritable"
FAULTS: dict[Do, tuple[str, ...]] = {
    Do.LOAD: (DOWN, LONG_DOWN, STOP_AFTER),
    Do.CAS: (DOWN, LONG_DOWN, APPLIED, NOT_APPLIED, APPLIED_LATER, STOP_AFTER),
    Do.TAKE: (STOP_AFTER,),
    Do.READ_SPOOL: (STOP_AFTER,),
    Do.SEND: (LOST_REQUEST, LOST_ANSWER, ERROR_AFTER, NOT_REACHED, STOP_AFTER),
    Do.WRITE_SPOOL: (UNWRITABLE,),
}
"""What may go wrong at each operation. Whoever is stopped before it, or with its answer, stands still while time moves:
that makes a difference, since it looks at its clock after the one and before the other."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `until`: it waits until then. `watches_lock`: the lock was held when it began to wait.

    `delayed`: what it is answered when it has waited, or goes on. `ledger`: what the judge knows of it.
    """

    position: Position
    host: int
    alive: bool = True
    until: float | None = None
    watches_lock: bool = False
    delayed: Answer | None = None
    stopped: bool = False
    ledger: judge.Ledger = judge.BLANK

    @property
    def operation(self) -> Operation:
        return self.position.operation


@dataclass(frozen=True, slots=True)
class Host:
    spooled: tuple[Spool, ...] = ()
    writable: bool = True


class World:
    """The state of everything; never changed, only copied."""

    __slots__ = (
        "alive", "book", "down_until", "faults", "holder", "hosts", "issued", "late", "now", "performer", "processes",
        "record", "setup", "spent", "version", "writes",
    )  # fmt: skip

    def __init__(self, setup: Setup, performer: Performer, record: Box) -> None:
        self.setup = setup
        self.performer = performer
        self.faults = setup.faults
        self.now = 0.0
        self.record = record
        self.writes = 0
        self.version = f"{NAME}v0"
        self.down_until = -1.0
        self.late: tuple[tuple[str, Box, int], ...] = ()
        self.holder = -1
        self.hosts = tuple(Host() for _ in range(1 if setup.has_lock else setup.processes))
        self.spent: tuple[float | None, ...] = (None,)  # when each refresh token was used up
        self.issued: tuple[int, ...] = (1,)  # access tokens for each of them
        self.alive = True  # the session at the server
        self.book = judge.Book(saved=frozenset({f"{ACCESS}0.0"}))
        self.processes = tuple(
            Process(performer.beginning(number), setup.host_of(number), ledger=judge.Ledger(began=1))
            for number in range(setup.processes)
        )

    # --- What may happen next ---

    def choices(self) -> list[Choice]:
        able = [number for number in range(len(self.processes)) if self._can_act(number)]
        private = [number for number in able if self._is_private(number)]
        if private:  # by what they are, so that the same worlds go on with the same one
            return [(min(private, key=lambda number: self.processes[number].position.form.shape), "")]
        found: list[Choice] = []
        for number in able:
            found.append((number, ""))
            if self.faults and self.processes[number].delayed is None:
                found += [(number, fault) for fault in FAULTS.get(self.processes[number].operation.do, ())]
        if self.faults:
            found += [(number, CRASH) for number in range(len(self.processes)) if self._can_crash(number)]
        found += [(LATE, str(index)) for index in range(len(self.late))]
        awake = [number for number in able if not self.processes[number].stopped]
        if self._next_moment() is not None:
            if not awake:
                found.append((TIME, ""))
            elif len(awake) == 1 and self.faults:
                found.append((awake[0], STOP))
        return found

    def _can_crash(self, number: int) -> bool:
        process = self.processes[number]
        return process.alive and process.operation.do is not Do.REST

    def _can_act(self, number: int) -> bool:
        process = self.processes[number]
        operation = process.operation
        if not process.alive or operation.do is Do.REST:
            return False
        if process.until is None or self.now >= process.until:
            return True
        if operation.do is not Do.WATCH:
            return False
        return operation.version != self.version or (process.watches_lock and self.holder == -1)

    def _is_private(self, number: int) -> bool:
        """Whether what it does next commutes with all that others do: then there is no use in letting them go first.

        While it may still be stopped, that is so only for what is no act at all: else it would make a difference to
        what the process knows of the time.
        """
        process = self.processes[number]
        operation = process.operation
        if operation.do is Do.DROP:
            return self.holder != number
        if self.faults or process.stopped or self.late:
            return False
        if operation.do is Do.READ_SPOOL:
            return not any(
                other.alive and other.host == process.host and other.operation.do is not Do.REST
                for index, other in enumerate(self.processes)
                if index != number
            )
        return operation.do in (Do.WATCH, Do.SLEEP)  # it has waited for long enough: it only goes on

    def _next_moment(self) -> float | None:
        moments = [
            process.until
            for process in self.processes
            if process.alive and process.until is not None and process.until > self.now
        ]
        return min(moments, default=None)

    # --- What happens ---

    def after(self, choice: Choice) -> World:
        """The world after a choice. Raises `Broken`."""
        world = copy.copy(self)
        number, fault = choice
        if number == TIME:
            world._move_time()
        elif number == LATE:
            world._write_late(int(fault))
        elif fault == STOP:
            world.faults -= 1
            world._change(number, stopped=True)
            world._move_time()
        elif fault == CRASH:
            world.faults -= 1
            world._crash(number)
        else:
            if fault:
                world.faults -= 1
                if fault in (DOWN, LONG_DOWN):
                    world.down_until = UNTIL_TIME_MOVES if fault == DOWN else world.now + OUTAGE
                    judge.store_went_down(world, long=fault == LONG_DOWN)
            world._act(number, fault)
        return world

    def _change(self, number: int, **changes: Any) -> None:
        processes = list(self.processes)
        processes[number] = replace(processes[number], **changes)
        self.processes = tuple(processes)

    def note(self, number: int, **changes: Any) -> None:
        """Change what the judge knows of a process."""
        self.enter(number, replace(self.processes[number].ledger, **changes))

    def enter(self, number: int, ledger: judge.Ledger) -> None:
        self._change(number, ledger=ledger)

    def _crash(self, number: int) -> None:
        judge.crashed(self, number)
        self._change(number, alive=False, until=None, stopped=False, delayed=None)
        if self.holder == number:
            self.holder = -1

    def _move_time(self) -> None:
        moment = self._next_moment()
        assert moment is not None
        if self.is_down and self.down_until is not UNTIL_TIME_MOVES:
            moment = min(moment, self.down_until)
        self.move_to(moment)

    def move_to(self, moment: float) -> None:
        self.now = moment
        if self.down_until is UNTIL_TIME_MOVES or self.down_until <= moment:
            self.down_until = -1.0
        judge.time_moved(self)

    @property
    def is_down(self) -> bool:
        return self.down_until > self.now

    def _act(self, number: int, fault: str) -> None:
        process = self.processes[number]
        judge.acts(self, number)
        if process.stopped:
            self._change(number, stopped=False)
        answer = process.delayed if process.delayed is not None else self._perform(number, process.operation, fault)
        if answer is not None and fault == STOP_AFTER:
            self._change(number, stopped=True, delayed=answer)
        elif answer is not None:
            self._go_on(number, answer)

    def _go_on(self, number: int, answer: Answer) -> None:
        position, notes = self.performer.after(self.processes[number].position, answer, self.now)
        for note in notes:
            judge.noted(self, number, note)
        operation, until, watches = position.operation, None, False
        if operation.do is Do.SLEEP:
            until = self.now + operation.seconds
        elif operation.do is Do.WATCH:
            until, watches = self.now + operation.seconds, self.holder not in (-1, number)
            if self.setup.has_lock and not watches and judge.is_orphaned(self):
                until = min(until, self.now + POLL)
        self._change(number, position=position, until=until, watches_lock=watches, delayed=None)

    def _perform(self, number: int, operation: Operation, fault: str) -> Answer | None:
        match operation.do:
            case Do.LOAD:
                return UNAVAILABLE if self.is_down else (Answered.LOADED, self.version, self.record)
            case Do.CAS:
                return self._cas(number, operation, fault)
            case Do.SEND:
                return self._send(number, operation, fault)
            case Do.TAKE:
                if self.holder not in (-1, number):
                    return (Answered.HELD, None, None)
                self.holder = number
                return (Answered.HELD, self.processes[number].host, None)
            case Do.DROP:
                if self.holder == number:
                    self.holder = -1
            case Do.READ_SPOOL:
                spooled = self.hosts[self.processes[number].host].spooled
                return (Answered.SPOOLED, spooled[0] if spooled else None, None)
            case Do.WRITE_SPOOL:
                return (Answered.SPOOLED, self._write_spool(number, operation, fault), None)
            case Do.DROP_SPOOL:
                host = self.hosts[self.processes[number].host]
                assert operation.spool is not None
                left = tuple(entry for entry in host.spooled if entry.attempt != operation.spool.attempt)
                self._change_host(self.processes[number].host, spooled=left)
        return NOTHING

    def _change_host(self, number: int, **changes: Any) -> None:
        hosts = list(self.hosts)
        hosts[number] = replace(hosts[number], **changes)
        self.hosts = tuple(hosts)

    def _write_spool(self, number: int, operation: Operation, fault: str) -> bool:
        where, spool = self.processes[number].host, operation.spool
        assert spool is not None
        if fault == UNWRITABLE:
            self._change_host(where, writable=False)
        host = self.hosts[where]
        if not host.writable:
            judge.spool_failed(self, number)
            return False
        others = tuple(entry for entry in host.spooled if entry.attempt != spool.attempt)
        self._change_host(where, spooled=(*others, spool))
        judge.saved(self, spool.access)
        return True

    # --- The store ---

    def _cas(self, number: int, operation: Operation, fault: str) -> Answer:
        box = operation.box
        assert box is not None
        judge.claims(self, number, box)
        if self.is_down:
            return UNAVAILABLE
        if fault == NOT_APPLIED:
            return (Answered.UNKNOWN, None, None)
        expected = operation.version
        if self.setup.blind and box.state == "leased":
            expected = self.version  # a defect that is planted
        if fault == APPLIED_LATER:
            if expected == self.version:
                self.late = (*self.late, (expected, box, number))
            return (Answered.UNKNOWN, None, None)
        if expected != self.version:
            return (Answered.UNKNOWN if fault == APPLIED else Answered.CONFLICT, None, None)
        self._write(number, box)
        if fault == APPLIED:
            return (Answered.UNKNOWN, None, None)
        judge.claim_heard(self, number, box)
        return (Answered.WRITTEN, self.version, None)

    def _write(self, number: int, box: Box) -> None:
        judge.written(self, number, self.record, box)
        self.writes += 1
        self.version, self.record = f"{NAME}v{self.writes}", box
        self.late = ()  # they expect a version that will not come back
        if box.access is not None:
            judge.saved(self, box.access)

    def _write_late(self, index: int) -> None:
        expected, box, number = self.late[index]
        assert expected == self.version
        self._write(number, box)

    # --- The server ---

    def _send(self, number: int, operation: Operation, fault: str) -> Answer | None:
        spent = int(operation.refresh.removeprefix(REFRESH))
        judge.sends(self, number, spent)
        if fault == NOT_REACHED:
            judge.not_sent(self, number)
            return UNREACHABLE
        if fault == LOST_REQUEST:
            self._change(number, until=self.now + HTTP_TIMEOUT, delayed=NO_ANSWER)
            return None
        access = self._rotated(spent)
        if access is None:
            judge.refused(self, number, spent)
        else:
            judge.rotated(self, number, spent, access)
        if fault == LOST_ANSWER:
            judge.answer_lost(self, number, spent)
            self._change(number, until=self.now + HTTP_TIMEOUT, delayed=NO_ANSWER)
            return None
        if fault == ERROR_AFTER:
            judge.answer_lost(self, number, spent)
            judge.not_sent(self, number)
            return SERVER_ERROR
        if access is None:
            return INVALID_GRANT
        return (Answered.TOKEN, access, f"{REFRESH}{spent + 1}")

    def _rotated(self, spent: int) -> str | None:
        """The access token that the server issues; None where it refuses."""
        used = self.spent[spent]
        if not self.alive:
            return None
        if used is None:
            times = list(self.spent)
            times[spent] = self.now
            self.spent, self.issued = (*times, None), (*self.issued, 1)
            return f"{ACCESS}{spent + 1}.1"
        if self.setup.server is Server.GRACE and self.now - used < GRACE:
            counts = list(self.issued)
            counts[spent + 1] += 1
            self.issued = tuple(counts)
            return f"{ACCESS}{spent + 1}.{counts[spent + 1]}"
        if self.setup.server is not Server.REJECT:
            self.alive = False
        return None

    # --- The end ---

    @property
    def is_over(self) -> bool:
        return all(not process.alive or process.operation.do is Do.REST for process in self.processes)

    def asked_alone(self, number: int, most: int) -> list[Note]:
        """Ask one process again, with nobody else awake; what it said. Only for a world that is over."""
        said: list[Note] = []
        for _ in range(most):
            if self._can_act(number) or not said:
                process = self.processes[number]
                answer = self._perform(number, process.operation, "") if said else NOTHING
                assert answer is not None
                _, notes = self.performer.after(process.position, answer, self.now)
                said += notes
                self._go_on(number, answer)
                if self.processes[number].operation.do is Do.REST:
                    return said
            else:
                moment = self._next_moment()
                assert moment is not None
                self.move_to(moment)
        raise Broken("waiting is bounded", "whoever asks at the end is not answered")

    def joined(self, host: int) -> int:
        """A process more, on one of the hosts; its number."""
        number = len(self.processes)
        self.processes = (*self.processes, Process(self.performer.beginning(number), host))
        return number

    # --- Whether two worlds are the same ---

    def key(self) -> bytes:
        """A digest of everything on which the future depends: equal for worlds that go on in the same way."""
        return keys.digest_of(self)
