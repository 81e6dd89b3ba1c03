"""Many tasks that begin at once leave their event loop time for others."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from tests.core.calls import Refresher, expired

from onerefresh import Credential, pacing
from onerefresh.pacing import AT_ONCE, paced


def turns_of(count: int, *, cancelled: int = 0) -> list[int]:
    """In which turn of the loop each of so many tasks goes on; the first ones are cancelled meanwhile."""
    turns: list[int] = []

    async def main() -> None:
        turn = 0

        async def one() -> None:
            await paced()
            turns.append(turn)

        tasks = [asyncio.ensure_future(one()) for _ in range(count)]
        for turn in range(count):
            await asyncio.sleep(0)
            if turn == 0:
                for task in tasks[AT_ONCE : AT_ONCE + cancelled]:
                    task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not pacing._pacers

    asyncio.run(main())
    return turns


def test_a_few_go_on_at_once() -> None:
    assert set(turns_of(AT_ONCE)) == {0}


def test_only_so_many_go_on_in_one_turn() -> None:
    turns = turns_of(20 * AT_ONCE)
    assert len(turns) == 20 * AT_ONCE
    assert max(turns.count(turn) for turn in set(turns)) <= AT_ONCE


def test_one_that_is_cancelled_takes_no_place() -> None:
    assert len(turns_of(10 * AT_ONCE, cancelled=5 * AT_ONCE)) == 5 * AT_ONCE


def test_where_the_turns_were_cut_short_all_go_on_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "AT_LATEST", 0.01)
    monkeypatch.setattr(pacing._Pacer, "_next_turn", lambda self: None)
    asyncio.run(asyncio.wait_for(_all(3 * AT_ONCE), 20.0))
    pacing._pacers.clear()


def test_where_the_turns_were_cut_short_later_ones_wait_for_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "AT_LATEST", 0.01)

    async def main() -> None:
        with monkeypatch.context() as interrupted:
            interrupted.setattr(pacing._Pacer, "_next_turn", lambda self: None)
            await asyncio.wait_for(_all(AT_ONCE + 1), 20.0)
        monkeypatch.setattr(pacing, "AT_LATEST", 3600.0)
        await asyncio.wait_for(_all(3 * AT_ONCE), 20.0)

    asyncio.run(main())
    assert not pacing._pacers


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
    try:
        asyncio.run(paced())
    finally:
        pacing._pacers.pop(another)


async def _all(count: int) -> None:
    await asyncio.gather(*(paced() for _ in range(count)))


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
