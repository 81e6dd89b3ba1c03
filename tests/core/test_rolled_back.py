"""Whether a store has gone back behind what a process knows."""

from __future__ import annotations

import pytest
from tests.core.driver import NEXT, World, make_request, seed
from tests.effects import EFFECTS, knowing

from onerefresh import succession
from onerefresh.record import Entry, Grant, Record, State
from onerefresh.renewal.bring_back import bring_back
from onerefresh.renewal.recovery import replay_spool
from onerefresh.renewal.world import Spooled


@pytest.mark.parametrize(
    ("family", "generation", "is_older"),
    [
        ("present", 4, True),
        ("present", 5, False),
        ("earlier", 4, True),
        ("earlier", 5, True),  # a late answer has the number of the login that came in its place
        ("earlier", 6, False),  # somebody has logged in again with the token of that session
        ("unknown", 4, False),
    ],
)
def test_a_record_is_older_by_its_number(family: str, generation: int, *, is_older: bool) -> None:
    record = Record((family,), generation, State.IDLE, token=seed().numbered(family, generation))
    assert succession.rolled_back(record, "present", 5, {"earlier"}) is is_older


@pytest.mark.parametrize("generation", [4, 5])
def test_a_login_with_the_token_of_an_earlier_session_stands_where_the_store_had_lost_the_record(
    generation: int,
) -> None:
    """It had the number of the session after that one, whose processes put their token over the login."""
    token = seed().numbered("earlier", generation)
    login = Record(("earlier",), generation, State.IDLE, token=token, history=(Entry(generation, 0.0, "login"),))
    assert succession.rolled_back(login, "present", 5, {"earlier"}) is (generation == 4)


@pytest.mark.parametrize(("families", "is_older"), [((), True), (("present",), False), (("other",), True)])
def test_of_two_sessions_with_one_number_that_which_is_stored_stands_if_it_says_that_it_came_later(
    families: tuple[str, ...], *, is_older: bool
) -> None:
    """Otherwise, processes that disagree about which session came first would replace each other's without end."""
    for generation in (4, 5):
        token = seed().numbered("earlier", generation)
        record = Record((*families, "earlier"), generation, State.IDLE, token=token)
        assert succession.rolled_back(record, "present", 5, {"earlier"}) is (is_older or generation == 4)


def test_a_late_answer_from_the_spool_does_not_stay_over_a_login_that_the_store_has_lost() -> None:
    world = World()
    first = world.starts()
    login = world.logs_in(seed("login"))
    entry = Spooled(*first.identity, "late", Grant.REFRESH, refused=False, token=NEXT.following(first))
    world.put(None)
    world.spools["host"] = entry
    world.run(replay_spool(EFFECTS, make_request()))  # a process that knows neither
    assert world.token.reveal() == "access-next"
    known = knowing(newest=login, earlier=(first.family,), recovery=5.0, may_go_back=True)
    assert world.run(bring_back(known, make_request()))
    assert world.token.reveal() == "access-login"
