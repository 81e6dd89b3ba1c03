"""An answer comes when its process knows of a login, a logout or a newer token, and the store is down: nobody gets it.

The store would show that it is of no use, but cannot be asked.
"""

from __future__ import annotations

import pytest
from tests.core.driver import NEXT, Process, make_request, needy, seed, store_goes_down
from tests.effects import Cas, Effects, Knowing, Send, Sleep

from onerefresh import errors
from onerefresh.renewal.attempt import Outcome
from onerefresh.renewal.renew import renew
from onerefresh.token import Token

LOGIN = seed("login")


@pytest.mark.parametrize(
    "newest",
    [LOGIN.numbered(LOGIN.seed_fingerprint(), 2), None, Token("access-3", "refresh-3").numbered("the same", 3)],
    ids=["a login", "a logout", "a newer token"],
)
def test_it_is_kept_in_the_file_and_its_callers_are_told_that_the_store_is_down(newest: Token | None) -> None:
    world = needy(seed(lives=1.0, at=0.0), NEXT)
    if newest is not None and newest.family == "the same":
        newest = newest.numbered(world.token.family, 3)
    memory = Knowing(newest=world.token)
    process = Process(world, renew(Effects(memory), make_request()), faults={(Cas, 2): store_goes_down})
    process.until(Send)
    memory.knows(newest=newest)
    process.until(Sleep)
    assert world.spools["host"].token.reveal() == "access-next"
    assert [type(answer) for answer in process.published] == [errors.StoreUnavailable]


def test_one_that_was_not_is_handed_out_once_it_is_in_the_file() -> None:
    world = needy(seed(lives=1.0, at=0.0), NEXT)
    memory = Knowing(newest=world.token)
    process = Process(world, renew(Effects(memory), make_request()), faults={(Cas, 2): store_goes_down}).until(Sleep)
    world.down = False
    assert [type(answer) for answer in process.published] == [Outcome]
    assert process.finish().token.generation == 2
