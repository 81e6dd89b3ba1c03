"""Who spends a copy that is older than what somebody else who runs knows, or that the same process has spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.broken import Broken
from tests.simulator.faults import What
from tests.simulator.ideas import Idea
from tests.simulator.server import Kind

from onerefresh.credential.look import NEWEST_EVERY
from onerefresh.record import Grant

if TYPE_CHECKING:
    from tests.simulator.process import Process
    from tests.simulator.tasks import Task
    from tests.simulator.world import World

    from onerefresh.record import Record
    from onerefresh.token import Token

__all__ = ["goes_on_from_a_login", "judge_copy"]

A_LOOK = 0.05
"""Seconds between a look and the request that follows it, at most."""
A_MOMENT = 1.0
"""Seconds that a look and the write after it take at most."""


def judge_copy(world: World, task: Task, token: Token | None) -> None:
    """`task` sends the refresh token of `token`. Raises `Broken`."""
    if token is None or token.refresh_token is None:
        return
    if world.scenario.watches(Idea.UNSAVED):
        _judge_own(task, token)
    if world.scenario.watches(Idea.LOST_STORE) and world.scenario.profile.rotates:
        _judge_store(world, task, token)
        _judge_others(world, task, token)


def _judge_own(task: Task, token: Token) -> None:
    if task.process.resumes_at > task.named_at:
        return  # it was stopped between its claim and its request, and the answer came while it was
    holder = _holder_of_the_answer(task.process, token, but=task)
    if holder is not None:
        raise Broken(
            "a process does not spend again what it holds the answer to",
            f"{task} sends generation {token.generation}, and {holder} has the next one",
        )


def _holder_of_the_answer(process: Process, token: Token, *, but: Task | None = None) -> Task | None:
    """Whoever in this process has spent the token's refresh token, and has the answer in memory alone."""
    saved = process.world.judge.saved
    is_static = process.world.scenario.manner.kind is Kind.STATIC  # its one refresh token is in every generation
    for task in process.tasks:
        holds = task is not but and task.spending and task.has_answer and task.answer not in saved
        if not holds or task.spent is None or (is_static and task.spent.identity != token.identity):
            continue
        if task.spent.refresh_token == token.refresh_token:
            return task
    return None


def _judge_store(world: World, task: Task, token: Token) -> None:
    """Whoever sends has looked at the store right before: it was to hold nothing newer."""
    record = world.store.record
    if record is None or record.family != token.family or record.generation <= token.generation:
        return
    if task.process.resumes_at <= task.named_at and world.timeline.now - world.store.changed_at > A_LOOK:
        raise Broken(
            "a refresh token is not sent while the store holds a newer one",
            f"{task} sends generation {token.generation}, and the store has {record.generation}",
        )


def goes_on_from_a_login(record: Record) -> bool:
    """Whether nothing but refreshes has followed the last login, so that the token is newer than its number says."""
    words = [entry.what for entry in record.history]
    while words and words[-1] == Grant.REFRESH.value:
        words.pop()
    return bool(words) and words[-1] == "login"


def _came_by_a_login(world: World, task: Task, token: Token) -> bool:
    """Whether a login was the last that the record told of, before `task` claimed it."""
    record, claim = world.store.record, world.judge.claims.of(task)
    last = record.history[-1] if record is not None and record.history else None
    if last is None or claim is None or claim.found_epoch is not None:
        return False
    return (last.what, last.generation) == ("login", token.generation)


def _judge_others(world: World, task: Task, token: Token) -> None:
    """Where the store has lost something: whoever knows more had his time to bring it back."""
    scenario, now = world.scenario, world.timeline.now
    if not world.judge.unordered or task.process.resumes_at > task.named_at:
        return  # nothing is lost, or it was stopped between its claim and its request
    if now - world.went_back_at < NEWEST_EVERY * scenario.look_every + A_MOMENT and not world.another_server:
        return  # nobody can tell yet: of a server that stays the same, each process reads its own record this seldom
    if not scenario.may_go_back and world.judge.begun_anew:
        return  # with a first token, on a store that loses nothing by itself: nobody can tell this from a first start
    record = world.store.record
    if What.SAME_LOGIN in world.judge.happened_kinds and record is not None and goes_on_from_a_login(record):
        return  # a login never waits, also with a token of which the store has lost what became of it
    if task.process.first_read >= world.server_since and _came_by_a_login(world, task, token):
        return  # it has seen no other server, and of a login no record says on which one it was written
    for process in world.accounts:
        if process is task.process or now - _undisturbed_since(process) <= scenario.brought_back_within:
            continue
        if (knows := _newest_known(process, token)) > token.generation:
            raise Broken(
                "a copy is not spent while somebody who runs knows a newer one",
                f"{task} sends generation {token.generation}, and {process.name} knows {knows}",
            )
        if (other := _sender_of(process, token, now)) is not None:
            raise Broken(
                "a request that the store has forgotten is not repeated within its time to live",
                f"{task} sends generation {token.generation}, and {other} waits for the answer",
            )


def _sender_of(process: Process, token: Token, now: float) -> Task | None:
    """The task of this process that has sent the refresh token and gets an answer, under a claim that is not over.

    A static server's one refresh token is in every generation: who sends a later one repeats no request. A store's
    clock that was set forward ends the claim early, as far as those can tell who came later. A claim is dated by the
    look before it.
    """
    world = process.world
    for task in process.tasks:
        claim, spent = process.world.judge.claims.of(task), task.spent
        if claim is None or spent is None or not task.sending or task.hangs or task.disturbed:
            continue
        was_set = claim.clock_epoch is not None and claim.born < world.store_clock_set_at
        ends_at = claim.born + claim.ttl - (max(world.store_clock_ahead, 0.0) if was_set else 0.0)
        if spent.identity == token.identity and now < ends_at - A_LOOK:
            return task
    return None


def _newest_known(process: Process, token: Token) -> int:
    """The newest generation of the token's session that this process has, saved or not.

    An answer that has just come may be on its way into the store, when the time to live of its claim is over.
    """
    known = process.world.accounts[process]._memory.known
    newest = known.generation if known is not None and known.family == token.family else 0
    holder = _holder_of_the_answer(process, token)
    has_it = holder is not None and process.world.timeline.now - holder.answered_at > A_MOMENT
    return max(newest, token.generation + 1) if has_it else newest


def _undisturbed_since(process: Process) -> float:
    """Since when it has run and reached the store."""
    if process.ending:
        return process.world.timeline.now
    return max(process.born, process.resumes_at, process.store.down_until)
