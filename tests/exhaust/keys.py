"""Whether two worlds are the same: a digest of everything on which the future depends."""

from __future__ import annotations

import hashlib
import itertools
import marshal
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.exhaust.operations import Answer, Answered, Box, Spool
from tests.exhaust.setups import GRACE
from tests.exhaust.shapes import Form

if TYPE_CHECKING:
    from tests.exhaust.world import Host, World

__all__ = ["digest_of"]


def digest_of(world: World) -> bytes:
    """Equal for worlds that go on in the same way."""
    return _Key(world).digest()


class _Key:
    def __init__(self, world: World) -> None:
        self._world = world
        self._names: dict[str, int] = {}

    def digest(self) -> bytes:
        """Processes are told apart by what they do and not by their numbers; where that leaves a choice, the least."""
        numbers = range(len(self._world.processes))
        blocks = [self._block(number) for number in numbers]
        looks = [_bytes(parts) for parts, _ in blocks]
        order = sorted(numbers, key=looks.__getitem__)
        if len(set(looks)) == len(looks):
            text = self._text(blocks, order)
        else:
            orders = itertools.permutations(order)
            sorted_looks = sorted(looks)
            text = min(self._text(blocks, one) for one in orders if [looks[number] for number in one] == sorted_looks)
        return hashlib.blake2b(text, digest_size=12).digest()

    def _text(self, blocks: list[tuple[tuple[object, ...], list[str]]], order: Sequence[int]) -> bytes:
        world = self._world
        self._names.clear()
        places = {number: place for place, number in enumerate(order)}
        parts: list[object] = [
            self._named(world.version),
            self._form(world.record.form),
            self._time(world.down_until),
            [(self._named(expected), self._form(box.form), places[number]) for expected, box, number in world.late],
            [(blocks[number][0], [self._named(name) for name in blocks[number][1]]) for number in order],
            world.faults,
            [None if spent is None else self._age(spent, GRACE) for spent in world.spent],
            world.issued,
            world.alive,
            tuple(world.book.parts(world.now)),
            places.get(world.holder),
        ]
        if world.setup.has_lock:
            parts.append(self._host(world.hosts[0]))
        return _bytes(parts)

    def _block(self, number: int) -> tuple[tuple[object, ...], list[str]]:
        """What there is of one process: first without the names, by which nobody can be told apart."""
        world = self._world
        process = world.processes[number]
        ledger = process.ledger
        names = [ledger.attempt, *(attempt for attempt, _, _ in ledger.unheard)]
        parts: list[object] = [process.alive, ledger.parts(world.now)]
        if process.alive:
            form = process.position.form
            names += form.names
            parts += [
                form.shape,
                [at - world.now for at in form.times],
                self._time(process.until if process.until is not None else -1.0),
                process.watches_lock,
                process.stopped,
                self._answer(process.delayed, names),
            ]
        if not world.setup.has_lock:
            host = world.hosts[process.host]
            parts.append((host.writable, [entry.access for entry in host.spooled]))
            names += [entry.attempt for entry in host.spooled]
        return tuple(parts), names

    def _answer(self, answer: Answer | None, names: list[str]) -> tuple[object, ...]:
        """One that has not been heard yet; its names are added to the others."""
        if answer is None:
            return ()
        what, first, second = answer
        if what in (Answered.LOADED, Answered.WRITTEN):
            names.append(first)
        form = second.form if isinstance(second, Box) else first.form if isinstance(first, Spool) else None
        if form is None:
            return (what.value, "" if what is Answered.WRITTEN else str(first), str(second))
        names += form.names
        return (what.value, form.shape, [at - self._world.now for at in form.times])

    def _host(self, host: Host) -> tuple[object, ...]:
        return (host.writable, [self._form(entry.form) for entry in host.spooled])

    def _form(self, form: Form) -> tuple[object, ...]:
        now = self._world.now
        return (form.shape, [at - now for at in form.times], [self._named(name) for name in form.names])

    def _named(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def _time(self, moment: float) -> float:
        if moment < 0.0 or math.isinf(moment):
            return moment if math.isinf(moment) else -1.0
        return max(moment - self._world.now, 0.0)

    def _age(self, since: float, most: float) -> float:
        return min(self._world.now - since, most + 1.0)


def _bytes(parts: Any) -> bytes:
    """Equal for what is equal: the later formats of `marshal` depend on which objects are shared."""
    return marshal.dumps(parts, 2)
