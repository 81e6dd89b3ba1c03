"""`docs/how-it-works.md`, "Threads": its numbers are those of the code."""

from __future__ import annotations

import re

from tests.package import ROOT

from onerefresh import pacing, timekeeper, workers

PAGE = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
SECTION = " ".join(PAGE.partition("**Threads.**")[2].partition("\n**")[0].split())


def test_the_numbers_of_threads_are_those_of_the_workers() -> None:
    assert f"at most {workers.SIZE} threads" in SECTION
    assert f"at most {workers.MOST_HELD_UP} besides the {workers.SIZE}" in SECTION


def test_the_times_after_which_a_thread_no_longer_counts_are_those_of_the_code() -> None:
    assert f"the timekeeper checks every {timekeeper.SLICE} seconds" in SECTION
    assert f"at one step for {workers.HELD_UP} seconds" in SECTION


def test_so_many_tasks_start_in_one_turn_of_a_loop() -> None:
    assert f"{pacing.AT_ONCE} of them start in each turn" in SECTION


def test_there_is_no_other_number() -> None:
    numbers = {workers.SIZE, workers.MOST_HELD_UP, timekeeper.SLICE, workers.HELD_UP, pacing.AT_ONCE}
    assert set(re.findall(r"\d+(?:\.\d+)?", SECTION)) == {str(number) for number in numbers}
