"""What many workers did with one record at the same time, and whether a single register could have answered so.

Each write numbers itself: its body says which generation it is, and who wrote it. So the order of writes needs no
search, and checking n operations takes O(n log n).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

__all__ = ["NOTHING", "Did", "HistoryBroken", "Mark", "Operation", "check_history"]


class HistoryBroken(AssertionError):
    """A register that is read and written one operation at a time could not have answered so."""


class Did(enum.Enum):
    """How an operation ended."""

    READ = "read"
    WRITTEN = "wrote"
    CONFLICT = "met a conflict in writing"
    UNAVAILABLE = "found the store unavailable for writing"
    UNKNOWN = "does not know whether it wrote"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Mark:
    """Which write this is: its number, and who wrote. As a text it is a record's body."""

    generation: int = 0
    author: str = ""

    def __str__(self) -> str:
        return f"{self.generation} by {self.author}" if self.generation else "nothing"

    @classmethod
    def parse(cls, body: str) -> Self:
        """The mark in a body. Raises `HistoryBroken` for a text that no worker wrote."""
        number, separator, author = body.partition(" by ")
        if not separator or not number.isdecimal():
            raise HistoryBroken(f"no process wrote what was read: {body[:80]!r}")
        return cls(int(number), author)


NOTHING = Mark()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a worker, from `begin` to `end`, on a clock that all workers share.

    `mark`: what was read or was to be written. `version`: the store's, where it gave one.
    """

    worker: str
    did: Did
    begin: int
    end: int
    mark: Mark = NOTHING
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.worker} {self.did.value} {self.mark} from {self.begin} to {self.end}"


def check_history(operations: Iterable[Operation]) -> int:
    """The number of writes in the history of one record that was empty at first, and is read once more at the end.

    Raises `HistoryBroken` where a write was lost or doubled, one was applied that surely was not, a version recurred, a
    conflict had no other write as its reason, an operation saw an older generation than one known complete when it
    began, or two holders had a lock with a proof at the same time.
    """
    history = sorted(operations, key=lambda operation: operation.begin)
    writes = _writes(history)
    _check_versions(history)
    _check_reads(history, writes)
    _check_conflicts(history, writes)
    _check_order(history)
    _check_holds(history)
    return len(writes)


def _writes(history: Sequence[Operation]) -> dict[int, Operation]:
    """The one write of each generation; where its outcome is unknown, the one that was seen."""
    applied: dict[int, Operation] = {}
    for operation in history:
        if operation.did is Did.WRITTEN:
            other = applied.setdefault(operation.mark.generation, operation)
            if other is not operation:
                raise HistoryBroken(f"a write was lost, two writes have the same generation: {other}; {operation}")
    unknown = {operation.mark: operation for operation in history if operation.did is Did.UNKNOWN}
    seen = {operation.mark.generation: operation.mark for operation in history if operation.did is Did.READ}
    top = max((*applied, *seen), default=0)
    for generation in range(1, top + 1):
        if generation not in applied:
            found = unknown.get(seen.get(generation, NOTHING))
            if found is None:
                raise HistoryBroken(f"generation {generation} was surely never written, but {seen.get(generation)}")
            applied[generation] = found
    last = max((operation for operation in history if operation.did is Did.READ), key=_begin, default=None)
    if last is None or last.mark.generation != top:
        raise HistoryBroken(f"generation {top} was lost: at the end, {last}")
    return applied


def _check_versions(history: Iterable[Operation]) -> None:
    marks: dict[str, Mark] = {}
    versions: dict[Mark, str] = {}
    for operation in history:
        if operation.version is not None and operation.did in (Did.READ, Did.WRITTEN):
            mark, version = operation.mark, operation.version
            if marks.setdefault(version, mark) != mark:
                raise HistoryBroken(f"version {version!r} was used twice: for {marks[version]} and for {operation}")
            if versions.setdefault(mark, version) != version:
                raise HistoryBroken(f"{mark} has two versions, {versions[mark]!r} and {version!r}: {operation}")


def _check_reads(history: Iterable[Operation], writes: dict[int, Operation]) -> None:
    for operation in history:
        if operation.did is Did.READ and operation.mark.generation:
            write = writes[operation.mark.generation]
            if write.mark != operation.mark:
                raise HistoryBroken(f"a write that was certainly not applied was read: {operation}, but {write}")
            if write.begin > operation.end:
                raise HistoryBroken(f"it was read before it was written: {operation}, but {write}")


def _check_conflicts(history: Iterable[Operation], writes: dict[int, Operation]) -> None:
    for operation in history:
        if operation.did is Did.CONFLICT:
            other = writes.get(operation.mark.generation)
            if other is None or other.begin > operation.end:
                raise HistoryBroken(f"no other process had written: {operation}")


def _check_order(history: Sequence[Operation]) -> None:
    """No operation reads, or writes over, an older generation than one known complete when it began."""
    known = Operation("nobody", Did.READ, 0, 0)
    completed = sorted((one for one in history if one.did in (Did.READ, Did.WRITTEN)), key=_end, reverse=True)
    for operation in history:
        if operation.did not in (Did.READ, Did.WRITTEN):
            continue
        while completed and completed[-1].end < operation.begin:
            known = max(known, completed.pop(), key=_generation)
        oldest = _generation(known) + (operation.did is Did.WRITTEN)
        if _generation(operation) < oldest:
            raise HistoryBroken(f"an older state came back: {operation}, but before that, {known}")


def _check_holds(history: Sequence[Operation]) -> None:
    for first, second in pairwise(operation for operation in history if operation.did is Did.HELD):
        if second.begin < first.end:
            raise HistoryBroken(f"two processes had the hold at the same time: {first}; {second}")


def _begin(operation: Operation) -> int:
    return operation.begin


def _end(operation: Operation) -> int:
    return operation.end


def _generation(operation: Operation) -> int:
    return operation.mark.generation
