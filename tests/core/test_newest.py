"""Which token a process takes for the newest that it knows: what it brings back where the store has lost something."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.core.driver import NEXT, needy

from onerefresh.credential.memory import SessionMemory
from onerefresh.record import Record
from onerefresh.stores.memory import MemoryStore
from onerefresh.token import Token


def token_of(generation: int, family: str = "one session") -> Token:
    return NEXT.numbered(family, generation)


def record_of(token: Token) -> Record:
    return replace(needy().present, families=(token.family,), generation=token.generation, token=token)


@pytest.mark.parametrize(("unsaved", "learned", "newest"), [(3, 2, 3), (3, 3, 3), (3, 4, 4)])
def test_of_a_token_that_is_saved_nowhere_and_one_that_a_record_tells_of_the_newer_one(
    unsaved: int, learned: int, newest: int
) -> None:
    """The first one stood before all others, for as long as no caller got another: an older copy was brought back."""
    memory = SessionMemory(MemoryStore(), "acme")
    memory.unsaved = token_of(unsaved)
    memory.learns(record_of(token_of(learned)), memory.epoch)
    assert memory.newest is not None
    assert memory.newest.generation == newest


def test_another_session_puts_an_end_to_what_is_saved_nowhere() -> None:
    memory = SessionMemory(MemoryStore(), "acme")
    memory.unsaved = token_of(3)
    memory.learns(record_of(token_of(4, "another session")), memory.epoch)
    assert memory.newest is not None
    assert memory.newest.family == "another session"
