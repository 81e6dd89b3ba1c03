"""`Credential.current()` with a fresh token, against the bare read of an attribute."""

from __future__ import annotations

from itertools import repeat

from bench.report import Row, nanoseconds, ratio
from bench.timing import Spread, against, jitter
from onerefresh import Credential, Token

READS = 100_000


class Holder:
    """What a program without onerefresh may keep its token in."""

    def __init__(self, token: Token) -> None:
        self.token = token


def never(_: Token) -> Token:
    raise AssertionError("a fresh token was refreshed")


def measure(turns: int) -> list[Row]:
    credential = Credential("bench", never, token={"access_token": "a", "refresh_token": "r", "expires_in": 3600})
    holder = Holder(credential.token())

    def ours() -> None:
        for _ in repeat(None, READS):
            credential.current()

    def bare() -> None:
        for _ in repeat(None, READS):
            holder.token  # noqa: B018 - reading it is what is measured

    pair = against(ours, bare, turns=turns)
    return [
        Row("`current()`", nanoseconds(_each(pair.ours)), "≤ 100 ns"),
        Row("an attribute", nanoseconds(_each(pair.bare)), ""),
        Row("one against the other", ratio(pair.ratio), ""),
    ]


def _each(taken: tuple[int, ...]) -> Spread:
    return jitter([turn / READS for turn in taken])
