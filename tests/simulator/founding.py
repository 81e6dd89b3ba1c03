"""Whether a record that the store had lost is founded again with the newest token that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.broken import Broken

from onerefresh.record import State

if TYPE_CHECKING:
    from tests.simulator.tasks import Task
    from tests.simulator.world import World

    from onerefresh.record import Record
    from onerefresh.token import Token

__all__ = ["insists_on_a_used_token", "judge_founding"]

AWAKE = 0.05
"""Seconds in which a process that was stopped has done what it had decided before."""


def judge_founding(world: World, after: Record, writer: Task) -> None:
    """Whoever knows the session brings back the newest of it, and no older seed. Raises `Broken`."""
    known = world.known_to(writer)
    if known is None or world.scenario.obtains:  # what was obtained since is of another family
        return
    if 0.0 <= world.timeline.now - writer.process.resumes_at < AWAKE:
        return  # it had decided before it was stopped, and has learned more in the moment since
    if after.family == known.family:
        older = after.generation < known.generation
    elif (
        after.committed_by is not None and after.committed_by == writer.attempt
    ):  # that of a later login, which its process had not heard of
        older = world.judge.claims.is_overtaken(after.committed_by)
    else:  # that of a later login in its host's spool: its generations go on from those of before
        brought = {after.committed_by, world.server.name_of(after.token) if after.token is not None else None}
        older = not brought & writer.process.host.spooled or after.generation <= known.generation
    if older:
        raise Broken(
            "a vanished record is founded again with the newest token that is known",
            f"{writer} knew generation {known.generation} and wrote {after.generation}",
        )
    if world.seed.seed_fingerprint() not in after.families:
        raise Broken("a seed stays known", f"{writer} founded generation {after.generation} without it")


def last_of(record: Record) -> str:
    """What was done to it last; nothing is known of one from before the run."""
    return record.history[-1].what if record.history else ""


def insists_on_a_used_token(world: World, before: Record | None, after: Record, token: Token) -> bool:
    """Whether somebody logs in with a used token although its session is over, or in doubt: he ends it himself."""
    refresh = token.refresh_token
    if last_of(after) != "login" or refresh is None or refresh.reveal() not in world.server.first_use:
        return False
    is_sound = before is not None and before.failure is None and before.state is not State.DEAD
    if is_sound and before is not None and before.family == after.family:
        return False
    world.server.ended_by_hand.add(world.server.session_of[token.reveal()])
    return True
