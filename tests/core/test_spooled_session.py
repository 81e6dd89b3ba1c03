"""A spooled answer of a later session than the one with which a process begins where the store is empty."""

from __future__ import annotations

import pytest
from tests.core.driver import NEXT, START, Process, World, make_request, needy, refusing, seed, store_goes_down
from tests.effects import EFFECTS, Cas, Sleep, knowing

from onerefresh import transitions as records
from onerefresh.record import Grant
from onerefresh.renewal.renew import renew
from onerefresh.renewal.world import Spooled
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, Verdict


def crashed() -> World:
    """Somebody had logged in, and the next token of that session is in a spool alone."""
    world = needy(None, NEXT)
    world.logs_in(seed("login"))
    holder = Process(world, renew(EFFECTS, make_request(**refusing(world))), faults={(Cas, 2): store_goes_down})
    holder.until(Sleep, 2).crash()
    world.down = False
    assert world.spools["host"].token.reveal() == "access-next"
    return world


def test_an_answer_names_the_sessions_before_it() -> None:
    world = crashed()
    assert world.spools["host"].families == world.present.families
    assert world.spools["host"].earlier == (seed().seed_fingerprint(),)


@pytest.mark.parametrize("recovery", [0.0, 5.0])
def test_a_fresh_process_with_an_older_token_restores_it_where_the_store_is_empty(recovery: float) -> None:
    """It took the older token for a new login, deleted the entry and sent a refresh token that was used up."""
    world = crashed()
    families = world.present.families
    world.put(None)
    asked = make_request(seed=seed())
    assert world.run(renew(knowing(recovery=recovery), asked)).token.reveal() == "access-next"
    assert (world.present.families, world.present.generation, world.spools) == (families, 3, {})
    assert len(world.sent) == 1


@pytest.mark.parametrize("then", ["begun", "refreshed", "dead"])
def test_a_process_elsewhere_that_has_begun_with_the_older_token_does_not_end_the_later_session(
    then: str,
) -> None:
    world = crashed()
    families = world.present.families
    world.put(None)
    world.run(renew(EFFECTS, make_request(seed=seed())), host="another")
    if then == "refreshed":
        world.commit_by(world.lease(), Token("access-went on", "refresh-went on"))
    if then == "dead":
        world.lease()
        refusal = Verdict(FailureKind.DEAD, "invalid_grant")
        world.put(records.died(world.present, refusal, now=world.wall, refused=False))
    assert world.run(renew(EFFECTS, make_request(seed=seed()))).token.reveal() == "access-next"
    assert (world.present.families, world.present.generation, world.spools) == (families, 3, {})


def test_a_login_of_before_the_answer_does_not_end_the_later_session() -> None:
    """The store goes back behind the last login, to the session that another login had begun."""
    world = needy(None, Token("access-next", "refresh-next", issued_at=START + 60.0))
    world.logs_in(seed())
    before = world.present
    world.now += 60.0
    world.logs_in(seed("login"))
    holder = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Cas, 2)
    world.put(before)
    assert holder.finish().token.reveal() == "access-next"
    assert world.present.token is not None
    assert world.present.token.reveal() == "access-next"


def test_a_holder_whose_record_was_begun_with_the_older_token_meanwhile_saves_its_answer() -> None:
    world = needy(None, NEXT)
    world.logs_in(seed("login"))
    holder = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Cas, 2)
    world.put(None)
    world.run(renew(EFFECTS, make_request(seed=seed())), host="another")
    assert holder.finish().token.reveal() == "access-next"
    assert world.present.generation == 3


@pytest.mark.parametrize("since", ["a login", "a refresh after it", "another token="])
def test_what_came_after_the_loss_stays(since: str) -> None:
    world = crashed()
    first = seed("first of another account") if since == "another token=" else seed()
    world.put(None)
    if since == "another token=":
        world.run(renew(EFFECTS, make_request(seed=first)), host="another")
    else:
        world.logs_in(first)
    if since == "a refresh after it":
        world.commit_by(world.lease(), Token("access-went on", "refresh-went on"))
    before = world.present
    world.run(renew(EFFECTS, make_request(seed=first)))
    assert (world.present, world.spools) == (before, {})


@pytest.mark.parametrize("families", [(), ("one that is known to no entry",)])
def test_a_token_that_the_entry_does_not_know_is_a_new_login(families: tuple[str, ...]) -> None:
    """So it is with entries of earlier versions, which name no sessions."""
    world = World()
    entry = Spooled("family", 2, "old", Grant.REFRESH, refused=False, token=NEXT, families=families)
    world.spools["host"] = entry
    assert world.run(renew(EFFECTS, make_request(seed=seed()))).token.reveal() == "access-seed"
    assert world.spools == {}
