"""Which targets of an API have accepted a token in this process, and where it was refused."""

from __future__ import annotations

from typing import Final, NamedTuple

from onerefresh.damping import HANDFUL, RefusedAt, Target, print_of
from onerefresh.token import Token

__all__ = ["Refusal", "Takers", "told_apart"]


FIRST: Final = HANDFUL // 2
"""How many of the targets that are remembered are the first ones."""


class Refusal(NamedTuple):
    """What a client integration knows of a refusal: the token that was sent, and to which target."""

    token: Token
    target: Target

    @property
    def generation(self) -> int:
        """The token's generation."""
        return self.token.generation


def told_apart(refused: Token | Refusal | str | None) -> tuple[Token | str | None, Target | None]:
    """The refused token, or its text, and its target, as far as the caller knows them."""
    return (refused.token, refused.target) if isinstance(refused, Refusal) else (refused, None)


class Takers(NamedTuple):
    """A handful of targets that have accepted the token of this identity: the first ones, and the last ones.

    A program may call one target again and again from its beginning, or only after it has called many others once. The
    targets are hashes, so that no path is kept in clear. The value is replaced as a whole and without a lock: where two
    threads do so at once, one target is remembered with its next call.
    """

    identity: tuple[str, int]
    targets: tuple[int, ...]

    def with_(self, target: Target) -> Takers:
        """The same with this target; the same object where nothing is added."""
        targets, new = self.targets, hash(target)
        if new in targets:
            return self
        if len(targets) >= HANDFUL:
            targets = targets[:FIRST] + targets[FIRST + 1 :]
        return Takers(self.identity, (*targets, new))

    def without(self, target: Target) -> Takers:
        """The same without this target, which has refused the token."""
        return Takers(self.identity, tuple([one for one in self.targets if one != hash(target)]))

    def at(self, target: Target, key: str) -> RefusedAt:
        """Where the token was refused, as the record of the credential `key` remembers it."""
        return RefusedAt(print_of(target, key), hash(target) in self.targets)
