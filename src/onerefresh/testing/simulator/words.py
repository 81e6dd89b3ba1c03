"""What people have said: the last login or logout that was done stands, whatever was under way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onerefresh import errors
from onerefresh.record import Record
from onerefresh.testing.simulator.broken import Broken
from onerefresh.token import Token

__all__ = ["Words"]


@dataclass(slots=True)
class _Word:
    """A login or logout. `family`: that the login has founded. `done_at`: seconds, or never."""

    name: str
    began: float
    family: str = ""
    done_at: float = math.inf


class Words:
    """The logins and logouts of one run."""

    def __init__(self) -> None:
        self._words: list[_Word] = []

    def begun(self, name: str, now: float) -> _Word:
        word = _Word(name, now)
        self._words.append(word)
        return word

    def ended(self, word: _Word, value: object, error: errors.OnerefreshError | None, now: float) -> None:
        """One that failed may still be applied: it counts as one that never ends."""
        if error is None:
            word.done_at = now
            word.family = value.family if isinstance(value, Token) else ""

    def judge(self, record: Record | None, *, since: float) -> None:
        """Whether the last word stands in the end, where nothing befell the store `since` it began."""
        if not self._words:
            return
        *earlier, last = sorted(self._words, key=lambda word: word.began)
        if last.began < since or last.done_at == math.inf or any(word.done_at > last.began for word in earlier):
            return
        if last.name == "logout" and (record is None or not record.is_logged_out):
            raise Broken("a logout is final", "somebody was logged in again")
        if last.name == "login" and (record is None or record.family != last.family):
            raise Broken("a login stands", "the session is another one")
