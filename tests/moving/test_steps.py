"""A copy that is killed at any step, or beside which somebody works at any step: nothing is lost or spent twice."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from tests.moving.strict import Ended, Strict, Watched, another, record_of, renewed

from onerefresh import Credential
from onerefresh.moving import copy
from onerefresh.record import Grant, Lease, Record, State
from onerefresh.record_text import encode
from onerefresh.stores.memory import MemoryStore
from onerefresh.transitions import claimed

STEPS = range(1, 31)
"""More than a copy has: the test looks that it does."""


class Two:
    """A session in the source, and an empty target."""

    def __init__(self, change: Callable[[Record], Record] | None = None) -> None:
        self.server = Strict()
        self.source, self.target = MemoryStore(), MemoryStore()
        with Credential("a", self.server.refresh, store=another(self.source)) as credential:
            credential.login(self.server.issue())
        if change is not None:
            found = self.source.load("a")
            assert found is not None
            self.source.cas("a", found.version, encode(change(record_of(self.source))))

    def copy(self, happens: Callable[[int], None] = lambda number: None) -> int:
        """Copy; how many steps that took."""
        counter = [0]
        faces = (Watched(store, counter, happens, name) for store, name in self.places())
        done = copy(*faces, at_once=1)
        assert done.failed == {}
        return counter[0]

    def places(self) -> list[tuple[MemoryStore, str]]:
        return [(self.source, "source"), (self.target, "target")]

    def old(self) -> str | None:
        return renewed(self.server, another(self.source))

    def new(self) -> str | None:
        return renewed(self.server, another(self.target))

    def both(self) -> str | None:
        faces = (Watched(another(store), [0], lambda number: None, name) for store, name in self.places())
        source, target = faces
        return renewed(self.server, target, moved_from=source)

    def assert_whole(self, *, alive: bool = True) -> None:
        """The session is in the target alone, nothing was spent twice, and it goes on."""
        left, there = record_of(self.source), record_of(self.target)
        assert (left.moved_to, left.token) == ("target", None)
        assert self.server.reused == []
        if alive:
            assert there.token is not None
            assert self.server.is_alive(there.token)
            before = self.server.refreshes
            assert str(self.new()).startswith("access-")
            assert self.server.refreshes > before
            assert self.old() == "CredentialMoved"


def killed_at(step: int, number: int) -> None:
    if number == step:
        raise Ended


WORKERS = {"old": Two.old, "new": Two.new, "both": Two.both}
ORDERS = [order for count in (0, 1, 2) for order in itertools.permutations(WORKERS, count)]


def test_the_steps_are_enough() -> None:
    assert 8 <= Two().copy() < max(STEPS)


@pytest.mark.seconds
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_killed_at_any_step_the_next_copy_goes_on(order: tuple[str, ...]) -> None:
    for step in STEPS:
        two = Two()
        with contextlib.suppress(Ended):
            two.copy(partial(killed_at, step))
        for worker in order:
            WORKERS[worker](two)
        assert two.server.reused == []
        two.copy()
        two.assert_whole()


@pytest.mark.seconds
@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_at_any_step_is_in_nobodys_way(worker: str) -> None:
    for step in STEPS:
        two = Two()

        def happens(number: int, two: Two = two, step: int = step) -> None:
            if number == step:
                WORKERS[worker](two)

        two.copy(happens)
        two.assert_whole()


@pytest.mark.parametrize("step", range(1, 12))
def test_two_copies_at_once_agree(step: int) -> None:
    two = Two()

    def happens(number: int) -> None:
        if number == step:
            two.copy()

    two.copy(happens)
    two.assert_whole()


def dead(record: Record) -> Record:
    return replace(record, state=State.DEAD)


def leased_by_the_dead(record: Record) -> Record:
    return claimed(record, Lease("gone", Grant.REFRESH, 0.0), owner=None)


@pytest.mark.parametrize("change", [dead, leased_by_the_dead])
def test_killed_at_any_step_every_kind_of_record_arrives(change: Callable[[Record], Record]) -> None:
    for step in STEPS:
        two = Two(change)
        with contextlib.suppress(Ended):
            two.copy(partial(killed_at, step))
        two.copy()
        two.assert_whole(alive=change is not dead)
        there = record_of(two.target)
        assert there.token is not None
        assert there.state is (State.DEAD if change is dead else State.IDLE)


def test_killed_at_any_step_a_logout_arrives() -> None:
    for step in STEPS:
        two = Two()
        with Credential("a", two.server.refresh, store=another(two.source)) as credential:
            credential.logout()
        with contextlib.suppress(Ended):
            two.copy(partial(killed_at, step))
        two.copy()
        two.assert_whole(alive=False)
        assert two.new() == "LoginRequired"
        assert record_of(two.target).history[-1].what == "logout"
