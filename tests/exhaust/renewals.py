"""Renewals as processes that can be put back to where they stood: the only file here that knows their effects.

A coroutine cannot be copied. But what it does is a function of the answers that it was given: so a position is the list
of those answers, kept as a tree in which all that begins alike is there once. A coroutine that stands there is made by
giving the answers to a new one; nothing else is performed for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests import effects
from tests.effects import Effect, Effects
from tests.exhaust.broken import Broken
from tests.exhaust.operations import Answer, Answered, Box, Do, Note, Noted, Operation, Spool
from tests.exhaust.setups import ACCESS, EXPIRES_IN, HTTP_TIMEOUT, REFRESH, Setup
from tests.exhaust.shapes import MONOTONIC, NAME, SHARED, WALL, Form, form_of

from onerefresh import errors
from onerefresh import transitions as records
from onerefresh.profile import profile_named
from onerefresh.record import Record
from onerefresh.record_text import decode, encode
from onerefresh.renewal import world as renewal_world
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.clocks import Instant
from onerefresh.renewal.known import Known
from onerefresh.renewal.renew import renew
from onerefresh.renewal.request import RenewalRequest
from onerefresh.renewal.sightings import Sightings
from onerefresh.renewal.world import Loaded, Spooled
from onerefresh.store import AdvisoryLock, Conflict, StoreOutcomeUnknown, StoreTime
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict

__all__ = ["Node", "Renewals"]

KEY = "acme"
CALM = 2.0
"""Seconds after which callers ask again who were told an error."""
MOST_ALIVE = 4_000
"""Coroutines that are kept where they stand, rather than made again."""
MOST_AT_ONCE = 2_000
"""Effects of one process that nobody else could notice, one after another: more than these, and it is a loop."""


class Lock(AdvisoryLock):
    def __init__(self, death_proof: str | None) -> None:
        self.death_proof = death_proof


class _Began(Effect[None]):
    """A renewal begins."""


@dataclass(frozen=True, slots=True)
class _Ended(Effect[None]):
    """A renewal is over."""

    outcome: Outcome | None
    error: errors.OnerefreshError | None


class _Rest(Effect[None]):
    """Wait until the end, when everybody is asked once more."""


@dataclass(slots=True)
class Memory:
    """What a process remembers from one renewal to the next."""

    token: Token | None
    sightings: Sightings = field(default_factory=Sightings)
    later: list[Coroutine[Effect[Any], Any, None]] = field(default_factory=list)

    def known(self) -> Known:
        return Known(newest=self.token)

    def learn(self, record: Record, skew: float) -> None:
        """Its callers ask again whatever they got."""

    def is_under_way(self, identity: tuple[str, int]) -> bool:
        return False

    def adopt(self, token: Token) -> None:
        known = self.token
        if known is None or known.family != token.family or known.generation <= token.generation:
            self.token = token


async def _process(memory: Memory, setup: Setup, asks: int) -> None:
    """A process whose callers ask so many times, whatever they hear, and at the end again and again."""
    for time in range(asks):
        if not await _ask(memory, setup) and time < asks - 1:
            await effects.Sleep(CALM)
    while True:
        await _Rest()
        await _ask(memory, setup)


async def _ask(memory: Memory, setup: Setup) -> bool:
    """Whether the callers were given a token."""
    await _Began()
    known, first = memory.token, _first(setup)
    refused = first.identity if setup.refused and (known is None or known.identity == first.identity) else None
    request = RenewalRequest(
        key=KEY,
        profile=profile_named(setup.profile),
        http_timeout=HTTP_TIMEOUT,
        jitter=0.0,
        refused=refused,
        sightings=memory.sightings,
    )
    outcome: Outcome | None = None
    try:
        outcome = await renew(Effects(memory), request)
    except errors.OnerefreshError as error:
        await _Ended(None, error)
    else:
        memory.adopt(outcome.token)
        await _Ended(outcome, None)
    while memory.later:
        await memory.later.pop(0)
    return outcome is not None


def _first(setup: Setup) -> Token:
    lives = 60.0 if setup.refused else -10.0
    token = Token(f"{ACCESS}0.0", f"{REFRESH}0", expires_at=WALL + lives, issued_at=WALL + lives - EXPIRES_IN)
    return token.numbered(token.seed_fingerprint(), 1)


@dataclass(slots=True, eq=False)
class Node:
    """A position. `alive`: a coroutine that stands there, and its memory, as long as it was not needed elsewhere."""

    operation: Operation
    form: Form
    process: int
    before: Node | None = None
    answer: Answer | None = None
    at: float = 0.0
    children: dict[tuple[Answer, float], tuple[Node, tuple[Note, ...]]] = field(default_factory=dict)
    alive: _Alive | None = None


class Renewals:
    """The renewals of one setup, and every position in which they have been."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._boxes: dict[str, Box] = {}
        self._spools: dict[Spooled, Spool] = {}
        self._kept: deque[Node] = deque()
        self.positions = 0
        self.made_again = 0

    def close(self) -> None:
        """Let go of all coroutines."""
        while self._kept:
            self._release_all(self._kept.popleft())

    # --- What a setup begins with ---

    def record(self) -> Box:
        """The record in which everything begins: generation 1, idle."""
        token = _first(self._setup)
        return self.box(records.new_session(None, token, now=WALL - EXPIRES_IN, owner=None, what="seed"))

    def box(self, record: Record) -> Box:
        text = encode(record)
        found = self._boxes.get(text)
        if found is None:
            record = decode(text, KEY)  # as a store does
            token, lease = record.token, record.lease
            found = self._boxes[text] = Box(
                record,
                form_of(record),
                record.generation,
                record.family,
                record.state.value,
                token.reveal() if token is not None else None,
                token.reveal_refresh_token() if token is not None and token.refresh_token is not None else None,
                lease.id if lease is not None else None,
                record.committed_by,
            )
        return found

    def beginning(self, process: int) -> Node:
        alive = _Alive(self, self._setup, process)
        operation = alive.until_noticed(0.0)
        alive.notes.clear()
        return self._node(operation, alive, process)

    # --- From one position to the next ---

    def after(self, position: Node, answer: Answer, now: float) -> tuple[Node, tuple[Note, ...]]:
        found = position.children.get((answer, now))
        if found is None:
            alive = self._at(position)
            operation = alive.given(answer, now)
            node = self._node(operation, alive, position.process)
            node.before, node.answer, node.at = position, answer, now
            found = position.children[answer, now] = (node, tuple(alive.notes))
            alive.notes.clear()
        return found

    def _node(self, operation: Operation, alive: _Alive, process: int) -> Node:
        self.positions += 1
        node = Node(operation, alive.form(), process, alive=alive)
        self._kept.append(node)
        if len(self._kept) > MOST_ALIVE:
            self._release_all(self._kept.popleft())
        return node

    @staticmethod
    def _release_all(node: Node) -> None:
        alive, node.alive = node.alive, None
        if alive is not None:
            alive.close()

    def _at(self, node: Node) -> _Alive:
        """A coroutine that stands there, which the caller may move on."""
        alive, node.alive = node.alive, None
        if alive is not None:
            return alive
        self.made_again += 1
        path: list[tuple[Answer, float]] = []
        while node.before is not None and node.answer is not None:
            path.append((node.answer, node.at))
            node = node.before
        alive = _Alive(self, self._setup, node.process)
        alive.until_noticed(0.0)
        for answer, now in reversed(path):
            alive.given(answer, now)
        alive.notes.clear()
        return alive

    def spool(self, entry: Spooled) -> Spool:
        found = self._spools.get(entry)
        if found is None:
            found = self._spools[entry] = Spool(entry, form_of(entry), entry.token.reveal(), entry.attempt)
        return found


class _Alive:
    """A coroutine under way. What nobody else could notice is done at once."""

    def __init__(self, renewals: Renewals, setup: Setup, process: int) -> None:
        self._renewals = renewals
        self._setup = setup
        self._process = process
        self._names = 0
        self._memory = Memory(_first(setup) if setup.knows and process < setup.processes else None)
        asks = setup.asks if process < setup.processes else 0
        self._coroutine = _process(self._memory, setup, asks)
        self.notes: list[Note] = []

    def close(self) -> None:
        self._coroutine.close()
        for rest in self._memory.later:
            rest.close()

    def form(self) -> Form:
        return form_of(self._coroutine)

    def given(self, answer: Answer, now: float) -> Operation:
        """Go on with an answer, up to the next operation."""
        what, first, second = answer
        match what:
            case Answered.LOADED:
                return self.until_noticed(now, Loaded(first, second.record if second is not None else None))
            case Answered.WRITTEN:
                return self.until_noticed(now, first)
            case Answered.HELD:
                return self.until_noticed(now, Lock(f"lock of host {first}") if first is not None else None)
            case Answered.SPOOLED:
                return self.until_noticed(now, first.entry if isinstance(first, Spool) else first)
            case Answered.TOKEN:
                token = Token(first, second, expires_in=EXPIRES_IN, issued_at=WALL + now)
                return self.until_noticed(now, token)
            case Answered.NOTHING:
                return self.until_noticed(now)
            case Answered.CONFLICT:
                return self.until_noticed(now, error=Conflict("another version"))
            case Answered.UNKNOWN:
                return self.until_noticed(now, error=StoreOutcomeUnknown("the answer was lost"))
            case Answered.UNAVAILABLE:
                return self.until_noticed(now, error=errors.StoreUnavailable("the store is down"))
            case Answered.FAILED:
                return self.until_noticed(now, error=RefreshFailure(Verdict(FailureKind(first), second)))

    def until_noticed(self, now: float, value: object = None, error: BaseException | None = None) -> Operation:
        """Perform what nobody else could notice; the next operation."""
        for _ in range(MOST_AT_ONCE):
            try:
                effect = self._coroutine.send(value) if error is None else self._coroutine.throw(error)
            except (Broken, StopIteration):
                raise
            except BaseException as defect:
                raise Broken("there are no defects", f"{type(defect).__name__}: {defect}") from defect
            operation = self._operation(effect)
            if operation is not None:
                return operation
            value, error = self._at_once(effect, now), None
        raise Broken("waiting is bounded", "a process goes round in circles by itself")

    def _operation(self, effect: Effect[Any]) -> Operation | None:
        match effect:
            case effects.Load():
                return Operation(Do.LOAD)
            case effects.Cas(expected, record):
                return Operation(Do.CAS, expected, self._renewals.box(record))
            case effects.Enter() if self._setup.has_lock:
                return Operation(Do.TAKE)
            case effects.Leave() if self._setup.has_lock:
                return Operation(Do.DROP)
            case effects.ReadSpool():
                return Operation(Do.READ_SPOOL)
            case effects.WriteSpool(entry):
                return Operation(Do.WRITE_SPOOL, spool=self._renewals.spool(entry))
            case effects.DropSpool(entry):
                return Operation(Do.DROP_SPOOL, spool=self._renewals.spool(entry))
            case effects.Send(_, token, _):
                assert token is not None
                return Operation(Do.SEND, refresh=token.reveal_refresh_token())
            case effects.Watch(version, seconds):
                return Operation(Do.WATCH, version, seconds=seconds)
            case effects.Sleep(seconds):
                return Operation(Do.SLEEP, seconds=seconds)
            case _Rest():
                return Operation(Do.REST)
        return None

    def _at_once(self, effect: Effect[Any], now: float) -> object:
        match effect:
            case effects.Now():
                shared = (
                    StoreTime("boot", SHARED + now, single_host=self._setup.has_lock) if self._setup.has_clock else None
                )
                return Instant(WALL + now, MONOTONIC + now, shared, 0.0)
            case effects.NewId():
                self._names += 1
                name = f"{NAME}{self._process}.{self._names}"
                self._note(Noted.NAMED, name)
                return name
            case effects.Queue():
                return False
            case effects.Enter():
                return Lock(None)
            case effects.Emit(event):
                self._note(Noted.TOLD, event.kind.value, event.attempt or "")
            case effects.Deliver(answer):
                if isinstance(answer, Outcome):
                    self._memory.adopt(answer.token)
                    self._note(Noted.HANDED, answer.token.reveal(), "", answer.token.generation)
                elif answer is not None:
                    self._note(Noted.REFUSED, type(answer).__name__, str(answer))
            case effects.Defer(rest):
                self._memory.later.append(rest)
            case effects.Revoke():
                return None
            case effects.ReportLoss():
                return "note:1"
            case effects.ReadNote():
                return renewal_world.Note("note", 1, 1, True)
            case effects.Leave() | effects.Prepare():
                pass
            case _Began():
                self._note(Noted.BEGAN)
            case _Ended(outcome, error):
                if outcome is not None:
                    self._note(Noted.HANDED, outcome.token.reveal(), "", outcome.token.generation)
                elif error is not None:
                    self._note(Noted.REFUSED, type(error).__name__, str(error))
                self._note(Noted.ENDED)
            case _:
                raise NotImplementedError(type(effect).__name__)
        return None

    def _note(self, what: Noted, text: str = "", detail: str = "", generation: int = 0) -> None:
        self.notes.append(Note(what, text, detail, generation))
