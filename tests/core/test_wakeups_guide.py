"""`docs/how-it-works.md`, "A store of your own": its example is executed, and its numbers are looked at."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.core.waking import Wakings, subscribe

from onerefresh.store import POLL, Store, Versioned
from onerefresh.stores.memory import MemoryStore
from onerefresh.wakeups import AT_ONCE, SLICE

PAGE = (Path(__file__).parents[2] / "docs" / "how-it-works.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("\n## A store of your own") :]


class AcmeStore(Store):
    """It tells nobody of a change, except the bus."""

    def __init__(self, bus: Bus) -> None:
        self._kept, self._bus = MemoryStore(), bus

    def load(self, key: str) -> Versioned | None:
        return self._kept.load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        version = self._kept.cas(key, expected, body)
        self._bus.announce(key)
        return version


class Bus:
    """What the example listens to."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []

    def listen(self, key: str, call: Callable[[], object]) -> Listener:
        self.listeners.append(Listener(self, key, call))
        return self.listeners[-1]

    def announce(self, key: str) -> None:
        for listener in list(self.listeners):
            if listener.key == key:
                listener.call()


class Listener(NamedTuple):
    bus: Bus
    key: str
    call: Callable[[], object]

    def close(self) -> None:
        if self in self.bus.listeners:
            self.bus.listeners.remove(self)


def test_the_example_misses_no_change_and_leaves_nothing_behind() -> None:
    bus = Bus()
    [block] = re.findall(r"^```python\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"AcmeStore": AcmeStore, "bus": bus}
    exec(compile(block, "docs/how-it-works.md", "exec"), names)
    store, wake = names["AnnouncingStore"](bus), Wakings()
    old = store.cas("acme", None, "first")
    wakeup = subscribe(store, wake, version=old)
    assert wake.count == 0
    new = store.cas("acme", old, "second")
    assert wake.count == 1
    wakeup.end()
    missed = Wakings()
    subscribe(store, missed, version=old).end()
    assert missed.count == 1
    store.cas("acme", new, "third")
    assert (wake.count, missed.count, bus.listeners) == (1, 1, [])


def test_its_numbers_are_those_of_the_code() -> None:
    rows = [line for line in SECTION.splitlines() if line.startswith("| ")]
    assert {*re.findall(r"(\d+\.\d+)\sseconds", "\n".join(rows))} == {str(POLL)} == {str(SLICE)}
    assert "At most four renewals" in SECTION
    assert AT_ONCE == 4
    assert f"`look_every` seconds ({Store.look_every})" in SECTION
