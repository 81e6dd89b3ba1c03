"""What people have said: the last login or logout that was done stands, whatever was under way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulator.broken import Broken

from onerefresh import errors
from onerefresh.record import Record
from onerefresh.token import Token

if TYPE_CHECKING:
    from tests.simulator.world import World

__all__ = ["Words"]


@dataclass(slots=True)
class _Word:
    """A login or logout. `family`: that the login began. `done_at`: seconds, or never.

    `looks_old`: its record may as well be one of before, to which a store went back.
    """

    name: str
    began: float
    family: str = ""
    done_at: float = math.inf
    looks_old: bool = False


class Words:
    """The logins and logouts of one run."""

    def __init__(self) -> None:
        self._words: list[_Word] = []

    def begun(self, name: str, now: float) -> _Word:
        word = _Word(name, now)
        self._words.append(word)
        return word

    def ended(self, word: _Word, value: object, error: errors.OnerefreshError | None, world: World) -> None:
        """One that failed may still be applied: it counts as one that never ends."""
        if error is not None:
            return
        word.done_at = world.timeline.now
        if isinstance(value, Token):
            word.family, word.looks_old = value.family, _looks_old(world, value)

    def judge(self, record: Record | None, *, since: float) -> None:
        """Whether the last word stands in the end, where nothing befell the store `since` it began."""
        if not self._words:
            return
        *earlier, last = sorted(self._words, key=lambda word: word.began)
        if last.began < since or last.done_at == math.inf or any(word.done_at > last.began for word in earlier):
            return
        if last.name == "logout" and (record is None or not record.is_logged_out):
            raise Broken("a logout is final", "somebody was logged in again")
        if last.name == "login" and not last.looks_old and (record is None or record.family != last.family):
            raise Broken("a login stands", "the session is another one")


def _looks_old(world: World, login: Token) -> bool:
    """Whether others take a login for what the store has gone back to, and bring back the session that they know.

    It was made with the first token of a session that came before theirs, after the store had lost the record, and by
    somebody who does not know how far the generations had come: nothing in its record is newer than what they know.
    Whether that token was ever sent makes no difference to them.
    """
    if not world.judge.unordered:
        return False
    memories = [account._memory for account in world.accounts.values()]
    return any(
        memory.known is not None and memory.known.generation > login.generation and login.family in memory.earlier
        for memory in memories
    )
