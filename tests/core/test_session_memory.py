"""What a process takes for the newest token of a session."""

from __future__ import annotations

from onerefresh.credential.memory import SessionMemory
from onerefresh.record import Record, State
from onerefresh.stores.memory import MemoryStore
from onerefresh.token import Token


def token(generation: int) -> Token:
    return Token(f"access-{generation}", f"refresh-{generation}", issued_at=0.0).numbered("family", generation)


def knowing(generation: int) -> SessionMemory:
    memory = SessionMemory(MemoryStore(), "acme")
    memory.learns(Record(("family",), generation, State.IDLE, token=token(generation)), memory.epoch)
    return memory


def test_a_new_token_that_could_not_be_saved_is_the_newest() -> None:
    memory = knowing(2)
    memory.cannot_save(token(3))
    assert memory.newest == token(3)


def test_a_late_answer_that_could_not_be_saved_is_not_newer_than_what_others_have_brought() -> None:
    """The answer of an attempt that others have overtaken must not found a record that the store has lost."""
    memory = knowing(3)
    memory.cannot_save(token(2))
    assert memory.newest == token(3)
    memory.cannot_save(Token("another", "another").numbered("another family", 2))
    assert memory.newest is not None
    assert memory.newest.family == "another family"
