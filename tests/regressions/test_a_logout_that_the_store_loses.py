"""The store loses the record of a logout: a process that has seen the logout does not log in again with `token=`.

Its first token may well work still: a server without a revocation endpoint knows nothing of the logout.
"""

from __future__ import annotations

import pytest
from tests.core.driver import NEXT, make_request, needy, seed
from tests.effects import EFFECTS

from onerefresh import errors
from onerefresh.renewal.commands import log_in, log_out
from onerefresh.renewal.renew import renew
from onerefresh.renewal.sightings import Sightings


@pytest.mark.parametrize("profile", ["static", "strict"])
@pytest.mark.parametrize("saw", ["its own logout", "that of another process"])
def test_the_seed_is_not_taken_for_a_first_one(profile: str, saw: str) -> None:
    world, mine = needy(seed()), Sightings()
    request = make_request(profile, seed=seed(), sightings=mine)
    world.run(log_out(EFFECTS, request if saw == "its own logout" else make_request(profile, seed=seed())))
    assert isinstance(world.fails(renew(EFFECTS, request)), errors.LoginRequired)
    world.put(None)
    error = world.fails(renew(EFFECTS, request))
    assert isinstance(error, errors.LoginRequired)
    assert "logged out" in str(error)
    assert (world.record, world.sent) == (None, [])  # what was purged is not written again


def test_a_login_and_another_token_begin_a_session() -> None:
    for seeds in (seed(), seed("other")):
        world, mine = needy(seed(), NEXT), Sightings()
        world.run(log_out(EFFECTS, make_request(seed=seed(), sightings=mine)))
        world.put(None)
        request = make_request(seed=seeds, sightings=mine)
        if seeds == seed():
            world.run(log_in(EFFECTS, seed(), request))
        assert world.run(renew(EFFECTS, request)).token.reveal() == seeds.reveal()


def test_nor_is_a_session_obtained() -> None:
    world, mine = needy(seed(), NEXT), Sightings()
    request = make_request(can_obtain=True, sightings=mine)
    world.run(log_out(EFFECTS, request))
    world.put(None)
    assert isinstance(world.fails(renew(EFFECTS, request)), errors.LoginRequired)
    assert world.sent == []
