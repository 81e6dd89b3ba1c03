"""Tasks that begin at once go on in turns of their event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import pytest
import trio
from tests.core.calls import Refresher, expired

from onerefresh import Credential, pacing
from onerefresh.pacing import AT_ONCE, paced

pytestmark = pytest.mark.usefixtures("_no_pacer_is_left")
COUNT = 3 * AT_ONCE


@pytest.fixture
def _no_pacer_is_left() -> Iterator[None]:
    yield
    assert not [loop for loop in pacing._pacers if not loop.is_closed()]


class Tasks:
    """Some that begin in one turn. In which turn each goes on, and in which order, is noted."""

    def __init__(self) -> None:
        self.turn, self.gone_on = 0, list[tuple[int, int]]()

    async def one(self, number: int) -> None:
        turn = paced()
        if turn is not None:
            await turn
        self.gone_on.append((self.turn, number))

    async def begin(self, count: int) -> list[asyncio.Task[None]]:
        """Let them begin, and return after that turn."""
        tasks = [asyncio.ensure_future(self.one(number)) for number in range(count)]
        await asyncio.sleep(0)
        self.turn += 1
        return tasks

    async def go_on(self) -> None:
        """Count turns until no pacer is left."""
        while pacing._pacers:
            await asyncio.sleep(0)
            self.turn += 1

    def per_turn(self) -> list[int]:
        turns = [turn for turn, _ in self.gone_on]
        return [turns.count(turn) for turn in sorted(set(turns))]


def test_the_first_goes_on_at_once_and_the_others_in_their_order_some_in_each_turn() -> None:
    async def main() -> Tasks:
        tasks = Tasks()
        await tasks.begin(COUNT + 1)
        assert tasks.gone_on == [(0, 0)]
        await tasks.go_on()
        return tasks

    tasks = asyncio.run(main())
    assert [number for _, number in tasks.gone_on] == list(range(COUNT + 1))
    assert tasks.per_turn() == [1, AT_ONCE, AT_ONCE, AT_ONCE]


def test_one_alone_waits_for_no_turn_and_leaves_nothing_behind() -> None:
    async def main() -> None:
        for _ in range(3):
            assert paced() is None
            while pacing._pacers:
                await asyncio.sleep(0)

    asyncio.run(main())


def test_a_late_one_does_not_overtake_those_that_wait() -> None:
    async def main() -> Tasks:
        tasks = Tasks()
        await tasks.begin(COUNT)
        late = asyncio.ensure_future(tasks.one(COUNT))
        await tasks.go_on()
        await late
        return tasks

    assert [number for _, number in asyncio.run(main()).gone_on] == list(range(COUNT + 1))


def test_cancelled_ones_take_no_place() -> None:
    async def main() -> Tasks:
        tasks = Tasks()
        begun = await tasks.begin(COUNT + 1)
        for task in begun[1:-1]:
            task.cancel()
        await tasks.go_on()
        return tasks

    assert [number for _, number in asyncio.run(main()).gone_on] == [0, COUNT]


@pytest.mark.parametrize("popped", [True, False], ids=["between two turns", "after a task was woken"])
def test_an_interrupt_in_a_turn_leaves_nobody_waiting(*, popped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "AT_LATEST", 0.01)

    async def main() -> Tasks:
        tasks = Tasks()
        begun = await tasks.begin(COUNT + 1)
        pacer = pacing._pacers[asyncio.get_running_loop()]
        pacer._next.cancel()  # as if the turn had been interrupted at its beginning
        if not popped:
            pacer._waiting[0].set_result(None)
        await asyncio.gather(*begun)
        await tasks.go_on()
        return tasks

    assert sorted(number for _, number in asyncio.run(main()).gone_on) == list(range(COUNT + 1))


def test_turns_that_go_on_are_not_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer is there for turns that do not come. One that is merely early must not add a turn to the loop's own."""
    monkeypatch.setattr(pacing, "AT_LATEST", 0.0)

    async def main() -> list[int]:
        await Tasks().begin(COUNT + 1)
        pacer = pacing._pacers[asyncio.get_running_loop()]
        turns = [pacer._turns]
        while pacing._pacers:
            await asyncio.sleep(0)
            turns.append(pacer._turns)
        return turns

    assert max(after - before for before, after in pairwise(asyncio.run(main()))) == 1


def test_other_loops_are_not_paced() -> None:
    async def main() -> list[object]:
        return [paced(), paced()]

    assert trio.run(main) == [None, None]
    assert paced() is None


def test_a_loop_that_was_closed_in_the_middle_is_forgotten() -> None:
    closed = asyncio.new_event_loop()

    async def leave() -> None:
        paced()

    closed.run_until_complete(leave())
    closed.close()

    async def main() -> None:
        paced()
        assert closed not in pacing._pacers

    asyncio.run(main())


def test_loops_come_and_go_on_other_threads_meanwhile() -> None:
    """Each thread forgets the loops that are closed, while the others add theirs and do the same."""

    class Elsewhere:
        """A loop of another thread, which is just then at the same place."""

        def is_closed(self) -> bool:
            for loop in list(pacing._pacers):
                if isinstance(loop, Elsewhere):
                    del pacing._pacers[loop]
            pacing._pacers[another] = pacer
            return True

    pacer, another = cast("pacing._Pacer", None), cast("asyncio.AbstractEventLoop", object())
    for _ in range(2):
        pacing._pacers[cast("asyncio.AbstractEventLoop", Elsewhere())] = pacer

    async def main() -> None:
        paced()

    try:
        asyncio.run(main())
    finally:
        pacing._pacers.pop(another)


def test_another_task_has_its_turn_while_thousands_of_renewals_begin() -> None:
    refresher, between = Refresher(), 0

    async def main() -> None:
        nonlocal between
        asked = [Credential(f"tenant-{number}", refresher, token=expired(), store="memory") for number in range(320)]
        asking = asyncio.ensure_future(asyncio.gather(*(one.atoken() for one in asked)))
        while any(one._memory.known is None or one._memory.flight is None for one in asked) and not asking.done():
            between += 1
            await asyncio.sleep(0)
        assert {token.generation for token in await asking} == {2}

    asyncio.run(main())
    assert between >= 320 // AT_ONCE - 2
