"""The promises, watched over in every world: a small judge of its own, which knows nothing of how they are kept.

The words are those of the simulator's judge. What it remembers is part of the world, and of the world's key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.exhaust.broken import Broken
from tests.exhaust.operations import Answered, Box, Do, Note, Noted
from tests.exhaust.setups import ACCESS, HTTP_TIMEOUT, REFRESH, Server

from onerefresh.events import Kind

if TYPE_CHECKING:
    from tests.exhaust.world import World

__all__ = ["BLANK", "Book", "Ledger", "judge_end"]

PATIENCE = 7.0
"""Seconds within which whoever waits must have noticed that an attempt is over."""
A_WHILE = 400.0
"""Seconds after everything when everybody is asked once more: longer than any lease or delay."""
ASKS = 4
MOST_STEPS = 300
NEVER = -1e9

# Why a session may be lost.
CRASH, ANSWER = "a crash after sending", "an answer that was lost"
OVERRUN, UNSAVED = "a holder kept away for longer than its time to live", "the new token could be written nowhere"
_ONWARDS = frozenset({OVERRUN})
"""What may end the session later, when others have gone on from the refresh token in question."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the judge knows of one process.

    `attempt`: the name of its present claim, made at `named_at`; `ttl`; `held`: it knows that it has it. `spending`:
    the number of the refresh token that it has sent, or -1; `answer`: the access token that it has got for it.
    `began`: the generation that was there when it was asked. `died_at`: when it crashed. `refused_at`: when the server
    refused it the last time. `unheard`: its earlier claims, of which it does not know whether they were written.
    """

    attempt: str = ""
    named_at: float = NEVER
    ttl: float = math.inf
    held: bool = False
    unheard: tuple[tuple[str, float, float], ...] = ()
    spending: int = -1
    answer: str = ""
    spool_failed: bool = False
    began: int = 0
    died_at: float = NEVER
    refused_at: float = NEVER

    def parts(self, now: float) -> tuple[object, ...]:
        """What a world's key holds of it."""
        age = min(now - self.named_at, self.ttl + PATIENCE + 1.0) if self.attempt else 0.0
        dead = min(now - self.died_at, PATIENCE + 1.0) if self.died_at != NEVER else -1.0
        refused = min(now - self.refused_at, HTTP_TIMEOUT)
        ttl = self.ttl if self.attempt else 0.0
        unheard = [(min(now - at, ttl), ttl) for _, at, ttl in self.unheard]
        return (age, ttl, self.held, self.spending, self.answer, self.spool_failed, self.began, dead, refused, unheard)

    def named(self, attempt: str, now: float) -> Ledger:
        """It claims once more, under another name."""
        unheard = self.unheard
        if self.attempt and not self.held and self.ttl != math.inf:
            unheard = (*unheard, (self.attempt, self.named_at, self.ttl))
        return replace(self, attempt=attempt, named_at=now, ttl=math.inf, held=False, unheard=unheard)

    def sent(self, attempt: str) -> Ledger:
        """It sends, perhaps under an earlier claim that was written late."""
        if attempt == self.attempt:
            return self
        _, named_at, ttl = next(claim for claim in self.unheard if claim[0] == attempt)
        others = tuple(claim for claim in self.unheard if claim[0] != attempt)
        return replace(self, attempt=attempt, named_at=named_at, ttl=ttl, held=True, unheard=others)


BLANK = Ledger()


@dataclass(frozen=True, slots=True)
class Book:
    """What the judge knows of the world: which access tokens were ever saved and stored, and why a session may be lost.

    `sends`: token requests while nothing had gone wrong. `refused_at`: when whoever declared a session dead had been
    refused, and which refresh token.
    """

    saved: frozenset[str]
    stored: frozenset[str] = frozenset()
    excuses: frozenset[tuple[str, int]] = frozenset()
    sends: int = 0
    refused_at: tuple[tuple[int, float], ...] = ()

    def parts(self, now: float) -> tuple[object, ...]:
        refused = tuple((spent, min(now - at, HTTP_TIMEOUT)) for spent, at in self.refused_at)
        return (tuple(sorted(self.saved)), tuple(sorted(self.stored)), tuple(sorted(self.excuses)), self.sends, refused)


def number_of(refresh: str | None) -> int:
    return int(refresh.removeprefix(REFRESH)) if refresh is not None else -1


def issued_for(access: str) -> int:
    """The number of the refresh token that an access token was issued for; -1 for the first one."""
    return int(access.removeprefix(ACCESS).partition(".")[0]) - 1


def _excuse(world: World, excuse: str, spent: int) -> None:
    if spent >= 0:
        world.book = replace(world.book, excuses=world.book.excuses | {(excuse, spent)})


def _has_unsaved(world: World, ledger: Ledger) -> bool:
    return bool(ledger.answer) and ledger.answer not in world.book.saved


# --- The store ---


def saved(world: World, access: str) -> None:
    """In the store, or in a spool."""
    world.book = replace(world.book, saved=world.book.saved | {access})


def written(world: World, writer: int, before: Box, after: Box) -> None:
    """A write was applied. (It may be a late one: then its writer may have gone on, or be dead.)"""
    if after.generation < before.generation:
        raise Broken("the store never goes backwards", f"from {before.generation} to {after.generation}")
    same = (before.family, before.generation) == (after.family, after.generation)
    if same and before.access != after.access:
        raise Broken("a generation is one token", f"generation {after.generation} was exchanged")
    if not same and after.access is not None:
        _new_token(world, before, after, after.access)
    if after.state == before.state == "leased" and after.attempt != before.attempt:
        _taken_over(world, writer, before)
    if after.state == "dead" != before.state:
        refused = (number_of(after.refresh), world.processes[writer].ledger.refused_at)
        world.book = replace(world.book, refused_at=(refused,))
    for number, process in enumerate(world.processes):
        if process.ledger.answer and process.ledger.answer == after.access:
            world.note(number, spending=-1, answer="")
    if after.access is not None:
        world.book = replace(world.book, stored=world.book.stored | {after.access})


def _new_token(world: World, before: Box, after: Box, access: str) -> None:
    spent = issued_for(access)
    if after.generation != before.generation + 1 or spent != number_of(before.refresh):
        raise Broken("a commit follows what it was issued for", f"generation {after.generation}: {access}")
    refused_at = dict(world.book.refused_at).get(spent)
    if before.state == "dead" and refused_at is not None and world.now - refused_at < HTTP_TIMEOUT - 0.5:
        waited = world.now - refused_at
        raise Broken("a session is declared dead only after a wait for a late commit", f"it came {waited:g} s later")


def _owner(world: World, attempt: str | None) -> int | None:
    for number, process in enumerate(world.processes):
        if process.ledger.attempt == attempt:
            return number
    return None


def is_orphaned(world: World) -> bool:
    """Whether the holder of the present attempt has died."""
    owner = _owner(world, world.record.attempt)
    return owner is not None and not world.processes[owner].alive


def _taken_over(world: World, writer: int, before: Box) -> None:
    owner = _owner(world, before.attempt)
    if owner is None or owner == writer:
        return
    process, ledger = world.processes[owner], world.processes[owner].ledger
    age = world.now - ledger.named_at
    proven = not process.alive and world.setup.has_lock
    if age < ledger.ttl - 0.01 and not proven and (ledger.held or not process.alive):
        raise Broken(
            "nobody is taken over from within his time to live",
            f"process {writer + 1} took over from {owner + 1} after {age:g} of {ledger.ttl:g} s",
        )
    undisturbed = not process.alive and world.setup.faults - world.faults == 1  # by more than that crash
    if undisturbed and proven and world.now - ledger.died_at > PATIENCE:
        raise Broken("a proven death holds nobody up", f"process {writer + 1} waited {world.now - ledger.died_at:g} s")
    if undisturbed and age > ledger.ttl + PATIENCE:
        raise Broken("an outage is over with its lease", f"process {writer + 1} waited for {age - ledger.ttl:g} s more")


def claims(world: World, number: int, box: Box) -> None:
    """It is about to write its claim, whatever comes of it."""
    if box.state == "leased" and box.attempt == world.processes[number].ledger.attempt:
        world.note(number, ttl=box.record.lease.ttl)


def claim_heard(world: World, number: int, box: Box) -> None:
    if box.state == "leased" and box.attempt == world.processes[number].ledger.attempt:
        world.note(number, held=True)


def store_went_down(world: World, *, long: bool) -> None:
    if long:
        _excuse(world, OVERRUN, number_of(world.record.refresh))
        for process in world.processes:
            _excuse(world, OVERRUN, process.ledger.spending)


def spool_failed(world: World, number: int) -> None:
    world.note(number, spool_failed=True)


# --- The server ---


def sends(world: World, number: int, spent: int) -> None:
    if world.faults == world.setup.faults:
        if world.book.sends:
            raise Broken("one token request for each generation", f"process {number + 1} sends another one")
        world.book = replace(world.book, sends=1)
    for index, process in enumerate(world.processes):
        ledger = process.ledger
        under_way = ledger.spending == spent and ledger.answer not in world.book.stored
        in_time = world.now - ledger.named_at < ledger.ttl - 0.01 and (OVERRUN, spent) not in world.book.excuses
        if index != number and process.alive and under_way and in_time:
            raise Broken(
                "a refresh token is not sent twice at the same time",
                f"process {number + 1} sends what process {index + 1} has sent",
            )
    world.note(number, spending=spent, answer="", held=True)


def not_sent(world: World, number: int) -> None:
    """It has heard that its request came to nothing."""
    world.note(number, spending=-1, answer="")


def rotated(world: World, number: int, spent: int, access: str) -> None:
    world.note(number, spending=spent, answer=access)


def refused(world: World, number: int, spent: int) -> None:
    world.note(number, spending=-1, answer="", refused_at=world.now)


def answer_lost(world: World, number: int, spent: int) -> None:
    _excuse(world, ANSWER, spent)
    world.note(number, answer="")


# --- Processes ---


def acts(world: World, number: int) -> None:
    process = world.processes[number]
    if process.delayed is not None and process.delayed[0] is Answered.FAILED:
        world.note(number, spending=-1, answer="")


def time_moved(world: World) -> None:
    for number, process in enumerate(world.processes):
        ledger = process.ledger
        if not process.alive or not (process.stopped or process.delayed is None):
            continue
        late = world.now - ledger.named_at >= ledger.ttl - 0.01
        if process.stopped and late:
            _excuse(world, OVERRUN, ledger.spending)
            if process.operation.do is Do.SEND and process.delayed is None:
                _excuse(world, OVERRUN, number_of(process.operation.refresh))
        if not process.stopped and _has_unsaved(world, ledger) and not ledger.spool_failed:
            raise Broken("a new token is brought to a safe place at once", f"process {number + 1} waits with it")


def crashed(world: World, number: int) -> None:
    ledger = world.processes[number].ledger
    if ledger.answer and ledger.answer not in world.book.stored:
        _excuse(world, OVERRUN if ledger.answer in world.book.saved else CRASH, ledger.spending)
    world.note(number, spending=-1, answer="", died_at=world.now)


def noted(world: World, number: int, note: Note) -> None:
    """What a process did by itself."""
    ledger = world.processes[number].ledger
    match note.what:
        case Noted.BEGAN:
            world.note(number, began=world.record.generation, spool_failed=False)
        case Noted.NAMED:
            world.enter(number, ledger.named(note.text, world.now))
        case Noted.TOLD:
            if note.text == Kind.SENT.value:
                world.enter(number, ledger.sent(note.detail))
            if note.text == Kind.ORPHANED.value:
                _orphaned(world, number)
        case Noted.HANDED:
            if note.text not in world.book.saved:
                raise Broken("nobody uses a token that was not saved", f"process {number + 1}")
            if note.generation < ledger.began:
                raise Broken(
                    "nobody is given an older token than was there when he asked",
                    f"process {number + 1}: {note.generation} after {ledger.began}",
                )
        case Noted.REFUSED:
            if note.text not in ("LoginRequired", "RefreshUnavailable", "RefreshOutcomeUnknown", "StoreUnavailable"):
                raise Broken("errors are what they say", f"process {number + 1}: {note.text}: {note.detail}")
        case Noted.ENDED:
            _ended(world, number)


def _ended(world: World, number: int) -> None:
    ledger = world.processes[number].ledger
    if ledger.answer and ledger.answer not in world.book.stored:
        if ledger.answer in world.book.saved:
            _excuse(world, OVERRUN, ledger.spending)
        elif ledger.spool_failed:
            _excuse(world, UNSAVED, ledger.spending)
        else:
            raise Broken("a new token is not given up", f"process {number + 1} ended without having saved it")
    world.enter(number, BLANK)


def _orphaned(world: World, number: int) -> None:
    """It says that its token came too late: the generation that it was issued for must be gone."""
    ledger, record = world.processes[number].ledger, world.record
    if record.by is not None and record.by == ledger.attempt:
        raise Broken("what is said is so", f"process {number + 1} says that the present token came too late")
    if ledger.answer and number_of(record.refresh) == issued_for(ledger.answer):
        raise Broken(
            "a new token is not given up", f"process {number + 1} threw away the answer to the present generation"
        )
    world.note(number, spending=-1, answer="")


# --- The end ---


def judge_end(world: World) -> str:
    """Ask everybody once more, a while later and one after the other; how it ended. `world` is over, and is changed."""
    calm = world.faults == world.setup.faults
    world.late = ()  # what was never applied
    world.move_to(world.now + A_WHILE)
    for host in range(len(world.hosts)):
        world.joined(host)
    asked = [number for number, process in enumerate(world.processes) if process.alive]
    for _ in range(2):  # whoever is asked first may not know what lies in another host's spool
        answers = [_answer(world, number) for number in asked]
    if len({what for what, _ in answers}) > 1:
        raise Broken("all agree", ", ".join(what for what, _ in answers))
    if len(reasons := {why for _, why in answers}) > 1:
        raise Broken("all are told the same", " / ".join(sorted(reasons)))
    if any(host.spooled for host in world.hosts):
        raise Broken("nothing stays in the spool", "there is something left")
    newest = number_of(world.record.refresh)
    is_lost = not world.alive or world.spent[newest] is not None
    if answers[0][0] == "dead" or is_lost:
        _judge_loss(world, newest, answers[0])
    if calm and world.book.sends != 1:
        raise Broken("one token request for each generation", f"{world.book.sends} requests")
    return "lost" if is_lost else "usable"


def _answer(world: World, number: int) -> tuple[str, str]:
    for _ in range(ASKS):
        notes = world.asked_alone(number, MOST_STEPS)
        said = [note for note in notes if note.what in (Noted.HANDED, Noted.REFUSED)][-1]
        if said.what is Noted.HANDED:
            return "usable", said.text
        if said.text == "LoginRequired":
            return "dead", said.detail
        world.move_to(world.now + A_WHILE)
    raise Broken("every run ends usable or dead", f"process {number + 1} hears: {said.text}: {said.detail}")


def _judge_loss(world: World, lost: int, answer: tuple[str, str]) -> None:
    what, why = answer
    if what == "dead" and world.record.state != "dead":
        raise Broken("a loss has a reason", f"the record is not dead, and yet: {why}")
    excuses = {excuse for excuse, spent in world.book.excuses if spent == lost or (excuse in _ONWARDS and spent < lost)}
    allowed = {UNSAVED}
    if world.setup.server is not Server.GRACE or world.setup.faults - world.faults > 1:
        allowed |= {CRASH, ANSWER}
    if world.setup.server is not Server.REJECT:
        allowed |= {OVERRUN}
    if not excuses & allowed:
        raise Broken("the credential survives", f"it is lost after {', '.join(sorted(excuses)) or 'nothing'}")
