"""Which refusal causes a refresh while refusals are damped: the rule as a table, and what a record remembers for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onerefresh.damping import HANDFUL, QUIET, RefusedAt, RefusedTarget, Ruling, Targets, print_of, rule
from onerefresh.policy import LONGEST_PAUSE

NOW = 1000.0
CLOCK = ("boot", NOW)
REFRESHES, LET_THROUGH, DAMPED = Ruling.REFRESHES, Ruling.IS_LET_THROUGH, Ruling.IS_DAMPED
BAD, GOOD, NEW = RefusedAt("bad"), RefusedAt("good", is_news=True), RefusedAt("new")
KNOWN = Targets("family", "boot", (RefusedTarget("bad", NOW - 5.0, 10.0),))
OVER = (RefusedTarget("bad", NOW - 10.0, 10.0),)
FORGOTTEN = Targets("family", "boot", (RefusedTarget("bad", NOW - 610.0, 10.0),))


def after(count: int, seconds: float, generation: int = 6) -> Targets:
    """After so many refusals in a row that were let through, the last one so many seconds ago."""
    return Targets("family", "boot", KNOWN.refused, generation, count, NOW - seconds)


@pytest.mark.parametrize(
    ("what", "where", "holds", "proven", "targets", "found"),
    [
        ("nothing is damped now", NEW, False, False, KNOWN, REFRESHES),
        ("but the target that refused a replay 5 seconds ago", BAD, False, False, KNOWN, DAMPED),
        ("the same after its pause", BAD, False, False, replace(KNOWN, refused=OVER), REFRESHES),
        ("the same by another clock", BAD, False, False, replace(KNOWN, clock_epoch="another boot"), REFRESHES),
        ("the same at a target that had accepted the token", GOOD, False, False, KNOWN, LET_THROUGH),
        ("the same, counted for any time before", GOOD, False, False, after(50, 1.0), LET_THROUGH),
        ("the same where nothing is known of any target", GOOD, False, False, FORGOTTEN, REFRESHES),
        ("nothing is damped, and no target is known", None, False, False, None, REFRESHES),
        # Whoever does not know the target is ruled as ever.
        ("a token that was just refreshed", None, True, False, None, DAMPED),
        ("the same, and the API has accepted it", None, True, True, None, REFRESHES),
        ("the same, and a target is known that refuses", None, True, True, KNOWN, REFRESHES),
        # As long as no target is known that refuses, so is everybody.
        ("a new token at any target", NEW, True, False, None, DAMPED),
        ("the same, and the API has accepted it elsewhere", NEW, True, True, None, REFRESHES),
        ("the same once the other target is forgotten", NEW, True, True, FORGOTTEN, REFRESHES),
        # Afterwards, each target speaks for itself.
        ("the target that refuses", BAD, True, False, KNOWN, DAMPED),
        ("the same, and others accept the token", BAD, True, True, KNOWN, DAMPED),
        ("one that never accepted it", NEW, True, False, KNOWN, DAMPED),
        ("the same, and others accept the token, too", NEW, True, True, KNOWN, DAMPED),
        ("one that had accepted it", GOOD, True, False, KNOWN, LET_THROUGH),
        ("the same where the record names no target", GOOD, True, False, None, LET_THROUGH),
        ("the same after a replay that was accepted", GOOD, True, True, KNOWN, LET_THROUGH),
        ("the same where no target is known to refuse", GOOD, True, True, None, REFRESHES),
        # What is let through is counted.
        ("a second one within 10 seconds", GOOD, True, False, after(1, 9.9), DAMPED),
        ("a second one after them", GOOD, True, False, after(1, 10.0), LET_THROUGH),
        ("a third one within 20 seconds", GOOD, True, False, after(2, 19.9), DAMPED),
        ("a third one after them", GOOD, True, False, after(2, 20.0), LET_THROUGH),
        ("one of many within 10 minutes", GOOD, True, False, after(50, 599.9), DAMPED),
        ("one of many after them", GOOD, True, False, after(50, 600.0), LET_THROUGH),
        ("a new one where none is known to refuse", NEW, True, True, replace(after(1, 9.0), refused=()), REFRESHES),
        ("one that accepted it, likewise", GOOD, True, False, replace(after(1, 9.0), refused=()), DAMPED),
        ("one that was let through and brought no token", GOOD, True, False, after(1, 1.0, generation=7), LET_THROUGH),
    ],
)
def test_what_a_refusal_does(  # noqa: PLR0917 - the columns of the table
    what: str, where: RefusedAt | None, holds: bool, proven: bool, targets: Targets | None, found: Ruling
) -> None:
    ruled = rule(where, holds=holds, proven=proven, generation=7, targets=targets, clock=CLOCK)
    assert ruled is found, what


def let_through(until: float, *, step: float) -> list[float]:
    """When refusals are let through where one comes each `step` seconds, with a new generation each time."""
    targets, found, now, generation = Targets("family", "boot"), [], 0.0, 1
    while now <= until:
        if targets.allows(generation, ("boot", now)):
            targets = targets.letting_through(generation, ("boot", now))
            generation += 1
            found.append(now)
        now += step
    return found


def test_one_in_ten_seconds_then_in_twenty_and_so_on_to_ten_minutes() -> None:
    assert let_through(3000.0, step=1.0) == [0.0, 10.0, 30.0, 70.0, 150.0, 310.0, 630.0, 1230.0, 1830.0, 2430.0]


@pytest.mark.parametrize("step", [7.0, 21.0, 45.0, 129.0])
def test_refusals_that_come_seldom_do_not_begin_anew(step: float) -> None:
    assert len(let_through(36_000.0, step=step)) <= 6 + 36_000.0 / LONGEST_PAUSE


@pytest.mark.parametrize(("count", "pause"), [(1, 10.0), (3, 40.0), (6, 320.0), (50, 600.0)])
def test_they_begin_anew_where_the_last_one_was_long_before(count: int, pause: float) -> None:
    quiet = pause + max(pause, QUIET)
    assert after(count, quiet - 0.1).letting_through(9, CLOCK).count == count + 1
    assert after(count, quiet).letting_through(9, CLOCK).count == 1


def test_tokens_that_really_end_every_few_minutes_are_refreshed_each_time() -> None:
    assert let_through(3600.0, step=150.0) == [150.0 * number for number in range(25)]


def test_a_generation_is_counted_once() -> None:
    targets = after(3, 1.0).letting_through(6, CLOCK)
    assert targets == after(3, 1.0)


def test_a_handful_is_remembered_those_that_refused_last() -> None:
    targets = Targets("family", "boot")
    for number in range(3 * HANDFUL):
        targets = targets.refusing(f"bad-{number}", 600.0, ("boot", float(number)))
    assert [one.target for one in targets.refused] == [f"bad-{2 * HANDFUL + number}" for number in range(HANDFUL)]
    again = targets.refusing(f"bad-{2 * HANDFUL}", 600.0, ("boot", 99.0))
    assert (len(again.refused), again.refused[-1].target) == (HANDFUL, f"bad-{2 * HANDFUL}")


def test_one_that_accepts_is_remembered_no_more() -> None:
    both = KNOWN.refusing("another", 10.0, CLOCK)
    assert [one.target for one in both.accepting("bad", CLOCK).refused] == ["another"]
    assert both.accepting("somebody", CLOCK).refused == both.refused


def test_times_of_another_clock_mean_nothing() -> None:
    targets, another = after(5, 1.0), ("another boot", 5.0)
    assert targets.present(another) == ()
    assert targets.allows(8, another)
    assert targets.letting_through(8, another) == Targets("family", "another boot", (), 8, 1, 5.0)


@pytest.mark.parametrize("step", [-1e6, -3600.0, 3600.0, 1e6])
def test_a_clock_that_is_set_locks_nobody_out_for_longer_than_ten_minutes(step: float) -> None:
    targets = after(50, 0.0)
    now = NOW + step
    if not targets.allows(8, ("boot", now)):
        assert targets.allows(8, ("boot", now + LONGEST_PAUSE + 1e6))
        assert targets.allows(8, ("boot", targets.at + LONGEST_PAUSE))


def test_a_print_shows_no_path_and_is_another_one_for_each_credential_origin_and_path() -> None:
    target = ("https://api.acme.com", "/users/ann@example.com")
    prints = {
        print_of(target, "acme"),
        print_of(target, "another"),
        print_of(("https://api.acme.com", "/users"), "acme"),
        print_of(("https://api.acme.com:8443", target[1]), "acme"),
        print_of(("https://api.acme.com/users", "/ann@example.com"), "acme"),
    }
    assert len(prints) == 5
    assert all(len(one) == 16 and set(one) <= set("0123456789abcdef") for one in prints)
    assert print_of(target, "acme") == print_of(target, "acme")
    assert print_of(("https://api.acme.com", "/\ud800"), "\ud800")
