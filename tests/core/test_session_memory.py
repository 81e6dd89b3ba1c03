"""What a process takes for the newest token of a session."""

from __future__ import annotations

import time

import pytest

from onerefresh import errors
from onerefresh.credential.memory import SessionMemory
from onerefresh.record import Record, State
from onerefresh.renewal.attempt import Outcome
from onerefresh.stores.memory import MemoryStore
from onerefresh.token import Token


def token(generation: int, family: str = "family") -> Token:
    text = f"{family}-{generation}"
    return Token(f"access-{text}", f"refresh-{text}", issued_at=0.0).numbered(family, generation)


def knowing(generation: int) -> SessionMemory:
    memory = SessionMemory(MemoryStore(), "acme")
    memory.learns(Record(("family",), generation, State.IDLE, token=token(generation)), memory.epoch)
    return memory


def test_a_token_that_no_caller_got_is_used_no_longer_than_it_lives_by_the_clock_of_its_server() -> None:
    """An outage lets a process use a token that it has only read so far; its machine's clock may be behind."""
    memory, now = SessionMemory(MemoryStore(), "acme"), time.time()
    over = Token("access", "refresh", issued_at=now - 100.0, expires_at=now + 50.0).numbered("family", 3)
    memory.learns(Record(("family",), 3, State.IDLE, token=over), memory.epoch, skew=-90.0)
    memory.give_up(errors.RefreshUnavailable("the token endpoint cannot be reached"))
    assert memory.serving(None) is None


def logged_in_elsewhere(generation: int, number: int | None = None) -> SessionMemory:
    """It has learned from the store that somebody has logged in when `generation` was the newest token."""
    memory = knowing(generation)
    newer = token(number or generation + 1, "another")
    memory.adopt(Outcome(newer, earlier=("family",)), memory.epoch)
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
    memory.cannot_save(token(2, "another"))
    assert memory.newest == token(2, "another")


def test_nor_than_the_token_of_a_login_elsewhere() -> None:
    memory = logged_in_elsewhere(1)
    memory.cannot_save(token(2))
    assert memory.newest == token(2, "another")


def test_nor_where_that_login_was_numbered_anew() -> None:
    memory = logged_in_elsewhere(7, number=1)
    memory.cannot_save(token(8))
    assert memory.newest == token(1, "another")


def test_a_late_answer_of_an_earlier_session_is_given_to_nobody() -> None:
    memory = logged_in_elsewhere(1)
    memory.adopt(Outcome(token(2), renewed=True), memory.epoch)
    assert memory.newest == memory.held.token == token(2, "another")


def logged_out_elsewhere() -> SessionMemory:
    memory = knowing(3)
    memory.give_up(errors.LoginRequired("logged out: log in again", generation=4))
    return memory


def test_a_late_answer_does_not_begin_a_session_again_that_a_logout_elsewhere_has_ended() -> None:
    memory = logged_out_elsewhere()
    memory.adopt(Outcome(token(2), renewed=True), memory.epoch)
    assert memory.newest is memory.held.token is None
    memory.cannot_save(token(4))
    assert memory.newest is None


def test_a_login_with_its_first_token_does() -> None:
    memory = logged_out_elsewhere()
    memory.logged_in(Outcome(token(5), renewed=True), None)
    assert memory.newest == memory.held.token == token(5)


@pytest.mark.parametrize("renewed", [False, True])
def test_a_login_with_the_token_of_an_earlier_session_is_a_new_one(*, renewed: bool) -> None:
    memory = logged_in_elsewhere(1)
    memory.adopt(Outcome(token(3), renewed=renewed, earlier=("another",)), memory.epoch)
    assert memory.newest == memory.held.token == token(3)


def test_a_late_answer_does_not_make_the_newest_refresh_token_a_spent_one() -> None:
    """Where the host saves, other objects of the name would go on from the newest token without end."""
    memory = knowing(3)
    memory.save = print
    memory.cannot_save(token(2))
    assert not memory.has_gone_on_from(token(3))


def test_an_answer_that_is_saved_nowhere_yet_is_not_forgotten_when_the_token_before_it_is_handed_out() -> None:
    memory = knowing(2)
    memory.cannot_save(token(3))
    memory.adopt(Outcome(token(2)), memory.epoch)
    assert memory.newest == token(3)
