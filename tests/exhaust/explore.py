"""Every schedule of one setup, depth first; what leads to a world that was there before is not gone on with."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.exhaust.broken import Broken
from tests.exhaust.judge import judge_end
from tests.exhaust.renewals import Renewals
from tests.exhaust.setups import Setup
from tests.exhaust.world import STOP, Choice, World

__all__ = ["Result", "explore", "told"]

DEEPEST = 1_000
"""Steps of all processes together: whoever needs more waits without an end."""
LONGEST = 900.0
"""Seconds of a world's own time, in the same way."""


@dataclass(slots=True)
class Result:
    """What was found. `merged`: schedules that led to a world that was there before. `broken`, after `schedule`."""

    setup: Setup
    states: int = 0
    merged: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    deepest: int = 0
    longest: float = 0.0
    positions: int = 0
    seconds: float = 0.0
    complete: bool = True
    broken: Broken | None = None
    schedule: tuple[Choice, ...] = ()


@dataclass(slots=True)
class _Level:
    world: World
    key: bytes
    left: list[Choice]


def explore(setup: Setup, *, most: int | None = None) -> Result:
    """Go every way, until a promise is broken or (`most`) so many worlds were seen."""
    renewals, result, began = Renewals(setup), Result(setup), time.process_time()
    try:
        _search(World(setup, renewals, renewals.record()), result, most)
    finally:
        result.positions, result.seconds = renewals.positions, time.process_time() - began
        renewals.close()
    return result


def _search(first: World, result: Result, most: int | None) -> None:
    seen, path, chosen = {first.key()}, [_Level(first, first.key(), first.choices()[::-1])], list[Choice]()
    on_path = {path[0].key}
    result.states = 1
    while path:
        level = path[-1]
        if not level.left:
            on_path.discard(level.key)
            path.pop()
            if chosen:
                chosen.pop()
            continue
        choice = level.left.pop()
        try:
            world = level.world.after(choice)
            key = world.key()
            if key in on_path:
                raise Broken("waiting is bounded", "the world is as it was before")
            if key in seen:
                result.merged += 1
                continue
            if len(path) > DEEPEST or world.now > LONGEST:
                raise Broken("waiting is bounded", f"{len(path)} steps, {world.now:g} s")
            seen.add(key)
            if world.is_over:
                result.ends[judge_end(copy.copy(world))] += 1
        except Broken as broken:
            result.broken, result.schedule = broken, (*chosen, choice)
            return
        result.states += 1
        result.deepest, result.longest = max(result.deepest, len(path)), max(result.longest, world.now)
        if most is not None and result.states >= most:
            result.complete = False
            return
        if not world.is_over:
            on_path.add(key)
            path.append(_Level(world, key, world.choices()[::-1]))
            chosen.append(choice)
            if not path[-1].left:
                result.broken, result.schedule = Broken("waiting is bounded", "nobody can go on"), tuple(chosen)
                return


def told(setup: Setup, schedule: tuple[Choice, ...]) -> str:
    """A schedule in words, one step a line."""
    renewals = Renewals(setup)
    world = World(setup, renewals, renewals.record())
    lines: list[str] = []
    try:
        for choice in schedule:
            lines.append(_line(world, choice))
            world = world.after(choice)
            lines[-1] += f"   -> {world.record.state} {world.record.generation}"
        if world.is_over:
            lines.append(f"all is over: {judge_end(world)}")
    except Broken as broken:
        lines.append(str(broken))
    finally:
        renewals.close()
    return "\n".join(lines)


def _line(world: World, choice: Choice) -> str:
    number, fault = choice
    when = f"{world.now:7.1f} s  "
    if number < 0:
        return when + ("time moves" if number == -1 else "a late write is applied")
    doing = f"process {number + 1}: {world.processes[number].operation}"
    return when + doing + (f", {fault}" if fault == STOP or not fault else f": {fault}") if fault else when + doing
