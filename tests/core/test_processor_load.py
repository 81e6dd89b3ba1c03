"""The share of a processor, by clocks that the tests set."""

from __future__ import annotations

import pytest

from onerefresh import processor_load
from onerefresh.hiring import BUSY
from onerefresh.processor_load import LONGEST, SHORTEST, ProcessorLoad


class Clocks:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.used = 100.0, 7.0
        monkeypatch.setattr(processor_load, "monotonic", lambda: self.now)
        monkeypatch.setattr(processor_load, "process_time", lambda: self.used)

    def pass_by(self, seconds: float, *, share: float) -> None:
        self.now, self.used = self.now + seconds, self.used + share * seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_it_is_the_share_since_the_last_measurement(clocks: Clocks) -> None:
    load = ProcessorLoad()
    for share in (0.25, 1.0, 0.0):
        clocks.pass_by(0.02, share=share)
        assert load.measure() == pytest.approx(share)


def test_what_was_before_the_work_began_to_wait_does_not_count(clocks: Clocks) -> None:
    load = ProcessorLoad()
    clocks.pass_by(5.0, share=0.0)
    load.begins()
    clocks.pass_by(0.02, share=1.0)
    assert load.measure() == pytest.approx(1.0)


def test_work_that_comes_again_and_again_does_not_hide_the_load(clocks: Clocks) -> None:
    load = ProcessorLoad()
    for _ in range(3):
        clocks.pass_by(LONGEST / 4, share=BUSY / 2)
        load.begins()
    assert load.measure() == pytest.approx(BUSY / 2)


def test_a_moment_says_nothing(clocks: Clocks) -> None:
    load = ProcessorLoad()
    clocks.pass_by(SHORTEST / 2, share=0.0)
    assert load.measure() == BUSY
