"""`docs/how-it-works.md`, "Threads": its numbers are those of the code."""

from __future__ import annotations

import re

from tests.package import ROOT

from onerefresh import hiring, pacing, workers

PAGE = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
SECTION = " ".join(PAGE.partition("**Threads.**")[2].partition("\n**")[0].split())


def test_the_numbers_of_threads_are_those_of_the_rule() -> None:
    assert f"So {hiring.AT_ONCE} threads start at once" in SECTION
    assert f"at most {hiring.SIZE} threads" in SECTION
    assert f"at most {hiring.MOST_HELD_UP} besides the {hiring.SIZE}" in SECTION


def test_more_start_where_less_than_a_half_of_a_processor_is_used() -> None:
    assert f"the timekeeper checks every {workers.LOOK} seconds" in SECTION
    assert "Below a half of one" in SECTION
    assert hiring.BUSY == 0.5


def test_the_times_after_which_a_thread_no_longer_counts_are_those_of_the_code() -> None:
    assert f"If no thread has taken any work for {hiring.STUCK} seconds" in SECTION
    assert f"at one step for {hiring.HELD_UP} seconds" in SECTION


def test_so_many_tasks_start_in_one_turn_of_a_loop() -> None:
    assert f"and {pacing.AT_ONCE} in each later turn" in SECTION


def test_there_is_no_other_number() -> None:
    numbers = {hiring.AT_ONCE, hiring.SIZE, hiring.MOST_HELD_UP, hiring.STUCK, hiring.HELD_UP}
    numbers |= {workers.LOOK, pacing.AT_ONCE}
    assert set(re.findall(r"\d+(?:\.\d+)?", SECTION)) == {str(number) for number in numbers}
