"""An answer to a refresh that belongs to another account: nobody gets it, and nothing is spent twice."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.core.driver import START, Process, World, failed, make_request, needy, refusing, seed, store_goes_down
from tests.effects import EFFECTS, Cas

from onerefresh import errors
from onerefresh.events import Kind
from onerefresh.judge_answer import with_rest
from onerefresh.policy import FOR_GOOD
from onerefresh.record import State
from onerefresh.renewal.commands import allow_again, log_in
from onerefresh.renewal.renew import renew
from onerefresh.token import Token
from onerefresh.verdict import FailureKind, RefreshFailure, Verdict
from onerefresh.whose import difference, whose


def jwt(**claims: object) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts), "c2ln"])


def of(sub: object = "anna", iss: object = "https://as.example", **more: object) -> str:
    return jwt(iss=iss, sub=sub, **more)


def told(name: str, refresh: str | None, **extra: object) -> Token:
    return Token(name, refresh, expires_in=3600, extra=extra)


ANNAS = {"id_token": of("anna")}
BENS = {"id_token": of("ben")}


def world_of_anna(*answers: object, **others: Any) -> World:
    return needy(
        Token("access-seed", "refresh-seed", expires_in=3600, issued_at=START, extra=ANNAS), *answers, **others
    )


@pytest.mark.parametrize("profile", ["strict", "grace:30"])
def test_an_answer_of_another_account_is_used_by_nobody_and_nothing_is_spent_twice(profile: str) -> None:
    world = world_of_anna(told("bens", "refresh-ben", **BENS))
    refused = refusing(world)
    for _ in range(4):
        error = world.fails(renew(EFFECTS, make_request(profile, **refused)))
        assert type(error) is errors.RefreshProtocolError
        assert "another account" in str(error)
        assert "subject of the id_token" in str(error)
        assert "ben" not in str(error).replace("belongs", "")
        assert "retry()" in str(error)
        world.now += 10**6
    assert len(world.sent) == 1
    assert (world.token.reveal(), world.token.reveal_refresh_token()) == ("access-seed", "refresh-seed")
    failure = world.present.failure
    assert failure is not None
    assert failure.delay == FOR_GOOD
    assert failure.maybe_spent
    assert world.present.state is State.IDLE
    assert world.kinds().count(Kind.FAILED) == 1
    assert not world.spools


def test_the_session_s_own_token_serves_to_its_end() -> None:
    world = world_of_anna(told("bens", "refresh-ben", **BENS))
    world.now = 3400.0
    error = world.fails(renew(EFFECTS, make_request(background=True)))
    assert "another account" in str(error)
    assert world.run(renew(EFFECTS, make_request())).token.reveal() == "access-seed"
    assert world.run(renew(EFFECTS, make_request(background=True))).token.reveal() == "access-seed"
    world.now = 4000.0
    assert "another account" in str(world.fails(renew(EFFECTS, make_request())))
    assert len(world.sent) == 1


@pytest.mark.parametrize("refresh", [None, "refresh-seed"])
def test_a_server_that_did_not_rotate_is_asked_again_after_a_pause(refresh: str | None) -> None:
    world = world_of_anna(told("bens", refresh, **BENS), told("annas", refresh, **ANNAS))
    refused = refusing(world)
    assert "another account" in str(world.fails(renew(EFFECTS, make_request(**refused))))
    assert world.token.reveal_refresh_token() == "refresh-seed"
    assert "another account" in str(world.fails(renew(EFFECTS, make_request(**refused))))
    assert len(world.sent) == 1
    world.now += 10.0
    assert world.run(renew(EFFECTS, make_request(**refused))).token.reveal() == "annas"


def test_where_obtain_gets_tokens_it_is_asked_at_once() -> None:
    world = world_of_anna(told("bens", "refresh-ben", **BENS), told("obtained", None))
    refused = refusing(world)
    with pytest.raises(errors.RefreshProtocolError):
        world.run(renew(EFFECTS, make_request(can_obtain=True, **refused)))
    assert world.run(renew(EFFECTS, make_request(can_obtain=True, **refused))).token.reveal() == "obtained"
    assert world.sent[1:] == [world.sent[0]]


def test_a_login_or_retry_goes_on_with_whatever_account_there_is() -> None:
    world = world_of_anna(told("bens", "refresh-ben", **BENS), told("annas", "refresh-2", **ANNAS))
    refused = refusing(world)
    assert "another account" in str(world.fails(renew(EFFECTS, make_request(**refused))))
    world.run(allow_again(EFFECTS, make_request()))
    assert world.run(renew(EFFECTS, make_request(**refused))).token.reveal() == "annas"
    world.run(log_in(EFFECTS, told("bens", "refresh-ben", **BENS), make_request()))
    assert world.token.reveal() == "bens"


def test_after_a_lost_answer_it_is_final_too_even_if_it_has_no_refresh_token() -> None:
    lost = failed(FailureKind.NO_ANSWER)
    world = world_of_anna(lost, told("bens", None, **BENS))
    assert "another account" in str(world.fails(renew(EFFECTS, make_request("grace:60", **refusing(world)))))
    assert world.present.failure is not None
    assert world.present.failure.delay == FOR_GOOD


def test_a_refresh_token_beside_a_useless_access_token_of_another_account_is_not_kept() -> None:
    answer = {"access_token": "tök€n", "refresh_token": "refresh-ben", **BENS}
    verdict = with_rest(Verdict(FailureKind.PROTOCOL, "useless"), answer)
    assert verdict.kept is not None
    world = world_of_anna(RefreshFailure(verdict))
    assert "another account" in str(world.fails(renew(EFFECTS, make_request(**refusing(world)))))
    assert world.token.reveal_refresh_token() == "refresh-seed"


def test_a_process_that_cannot_write_it_down_sends_nothing_again() -> None:
    world = world_of_anna(told("bens", "refresh-ben", **BENS))
    request = make_request(**refusing(world))
    error = world.fails(renew(EFFECTS, request), faults={(Cas, 2): store_goes_down})
    assert "another account" in str(error)
    world.down = False
    assert "another account" in str(world.fails(renew(EFFECTS, request)))
    assert len(world.sent) == 1


def test_another_process_that_waits_gets_the_error_when_it_is_written() -> None:
    world = world_of_anna(told("bens", "refresh-ben", **BENS))
    first = Process(world, renew(EFFECTS, make_request(**refusing(world)))).until(Cas, 2)
    other = Process(world, renew(EFFECTS, make_request(**refusing(world))))
    other.step()
    with pytest.raises(errors.RefreshProtocolError):
        first.finish()
    with pytest.raises(errors.RefreshProtocolError, match="another account"):
        other.finish()
    assert len(world.sent) == 1


# --- What is compared ---

SAME = [
    ({"access_token": of("anna")}, {"access_token": of("anna", aud="other", exp=1)}),
    ({"id_token": of("anna")}, {"idToken": of("anna", aud=["a", "b"])}),
    ({"id_token": of("anna"), "access_token": of("42")}, {"id_token": of("anna"), "access_token": of("42")}),
    ({"id_token": of("pairwise-1")}, {"access_token": of("anna")}),  # of another kind
    ({"access_token": of("anna")}, {"access_token": "opaque"}),
    ({"access_token": of("anna")}, {"access_token": jwt(exp=1)}),
    ({"access_token": of(42)}, {"access_token": of("42")}),
    ({"access_token": of("")}, {"access_token": of("anna")}),
    ({"access_token": of(True)}, {"access_token": of(["anna"])}),
    ({"access_token": of(None, iss=7.5)}, {"access_token": of("anna")}),
    ({"id_token": of("anna", iss="accounts.google.com")}, {"id_token": of("anna", iss="https://accounts.google.com")}),
    ({"id_token": of("anna", iss="https://a.auth0.com/")}, {"id_token": of("anna", iss="https://a.auth0.com")}),
    ({"id_token": of(iss="http://a.example:80/x")}, {"id_token": of(iss="https://A.Example:443/x/")}),
    ({"id_token": of("anna"), "access": of(1)}, {"id_token": of("anna"), "access": of(2)}),  # it names the person
    ({"access": of(1, aud="one api")}, {"access": of(2, aud="another")}),  # a subject for each API
    ({"access": of(iss="https://sts/t", aud="api://a")}, {"access": of(iss="https://login/t/v2.0", aud=["a"])}),
    ({"id_token": "a.b.c"}, {"id_token": of("anna")}),
    ({"id_token": f"{of('anna')}.d.e"}, {"id_token": of("ben")}),  # encrypted: five parts
    ({"id_token": 7}, {"id_token": {"sub": "ben"}}),
    ({}, {"access_token": of("anna")}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_not_known_to_differ_is_the_same_account(one: dict[str, object], other: dict[str, object]) -> None:
    assert difference(whose(None, one), whose(None, other)) == ""
    assert difference(whose(None, other), whose(None, one)) == ""


OTHER = [
    ({"access_token": of("anna")}, {"access_token": of("ben")}, "subject of the access token"),
    ({"accessToken": of("anna")}, {"access_token": of("anna", iss="https://b")}, "issuer of the access token"),
    ({"id_token": of("anna")}, {"id_token": of("Anna")}, "subject of the id_token"),
    ({"id_token": of(None)}, {"id_token": of(None, iss="https://b")}, "issuer of the id_token"),
    ({"access": of("anna", aud="api")}, {"access": of("ben", aud=["api"])}, "subject of the access token"),
    ({"access": of("anna", aud="api")}, {"access": of("ben")}, "subject of the access token"),
    ({"id_token": of("anna", aud="a")}, {"id_token": of("ben", aud="b")}, "subject of the id_token"),
    ({"id_token": of(iss="https://a/b")}, {"id_token": of(iss="https://a/B")}, "issuer of the id_token"),
    ({"id_token": of(iss="https://a:8443")}, {"id_token": of(iss="https://a")}, "issuer of the id_token"),
    ({"id_token": of("a"), "access": of(1)}, {"id_token": of("b"), "access": of(1)}, "subject of the id_token"),
]


@pytest.mark.parametrize(("one", "other", "what"), OTHER)
def test_another_subject_or_issuer_is_another_account(
    one: dict[str, object], other: dict[str, object], what: str
) -> None:
    assert what in difference(whose(None, one), whose(None, other))


def test_the_id_token_of_an_earlier_answer_counts_as_long_as_no_newer_one_comes() -> None:
    world = world_of_anna(told("second", "refresh-2"), told("bens", "refresh-ben", **BENS))
    assert world.run(renew(EFFECTS, make_request(**refusing(world)))).token.reveal() == "second"
    assert "another account" in str(world.fails(renew(EFFECTS, make_request(background=True, within=1e9))))


def test_without_an_id_token_the_access_tokens_are_compared() -> None:
    world = needy(seed(), Token(of("anna"), "refresh-2", expires_in=3600), Token(of("ben"), "refresh-3"))
    assert world.run(renew(EFFECTS, make_request(**refusing(world)))).token.reveal() == of("anna")
    error = world.fails(renew(EFFECTS, make_request(background=True, within=1e9)))
    assert "subject of the access token" in str(error)
    assert world.token.reveal() == of("anna")
