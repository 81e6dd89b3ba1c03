"""Whose token a record holds: its refresh token goes to no other endpoint, unless somebody consents."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.calls import expired, first_token
from tests.core.driver import NEXT, Process, failed, make_request, needy, refusing, store_goes_down
from tests.effects import EFFECTS, Cas, Send, knowing

from onerefresh import ConfigurationError, Credential, Credentials, LoginRequired, OnerefreshError, Token, events
from onerefresh import transitions as records
from onerefresh.events import Event, Kind
from onerefresh.record import Grant, Record, State
from onerefresh.record_text import decode, encode
from onerefresh.renewal.commands import adopt
from onerefresh.renewal.recovery import settle
from onerefresh.renewal.renew import renew
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.store import Store
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore
from onerefresh.verdict import FailureKind, RefreshFailure


class Endpoint:
    """A refresher that says whose tokens it refreshes, and notes what it was given."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.given: list[str] = []
        self.revoked: list[str] = []

    def __call__(self, token: Token) -> dict[str, object]:
        self.given.append(token.reveal_refresh_token())
        return {"access_token": "new", "refresh_token": f"new-{len(self.given)}", "expires_in": 3600}

    def revoke(self, token: Token) -> None:
        self.revoked.append(token.reveal_refresh_token())


def anybody(token: Token) -> dict[str, object]:
    return {"access_token": "anybody's", "refresh_token": "anybody's", "expires_in": 3600}


@pytest.fixture
def told() -> Iterator[list[Event]]:
    seen: list[Event] = []
    unsubscribe = events.subscribe(seen.append)
    yield seen
    unsubscribe()


def record_of(store: Store) -> Record:
    found = store.load("acme")
    assert found is not None
    return decode(found.body, "acme")


def of_an_older_version() -> MemoryStore:
    """A store with a record that says nothing of an owner."""
    store = MemoryStore()
    old = records.new_session(None, Token("access-0", "refresh-0", expires_at=1.0), now=0.0, owner=None, what="login")
    fields = json.loads(encode(old))
    del fields["checksum"]
    store.cas("acme", None, json.dumps(fields))
    return store


BEGUN: dict[str, Callable[[Store], object]] = {
    "a login": lambda store: Credential("acme", anybody, store=store).login(expired()),
    "a first token": lambda store: Credential("acme", anybody, token=expired(), store=store).status(),
    "a refresh": lambda store: Credential("acme", anybody, token=expired(), store=store).token(),
    "obtain": lambda store: Credential("acme", anybody, obtain=lambda: anybody(Token("a")), store=store).token(),
}


@pytest.mark.parametrize("what", BEGUN)
def test_what_a_function_has_begun_is_not_sent_to_an_endpoint(what: str) -> None:
    """A record without an owner was anybody's: any TokenEndpoint of that name got its refresh token."""
    store, foreign = MemoryStore(), Endpoint("endpoint B")
    BEGUN[what](store)
    assert record_of(store).owner is not None
    with Credential("acme", foreign, store=store) as acme:
        with pytest.raises(ConfigurationError, match=r"belongs to another refresher, which .*onerefresh adopt NAME"):
            acme.token(refused=Token("x").numbered(record_of(store).family, record_of(store).generation))
        acme.logout()
    assert (foreign.given, foreign.revoked) == ([], [])


def test_a_function_goes_on_with_what_a_function_has_begun() -> None:
    store = MemoryStore()
    Credential("acme", anybody, store=store).login(expired())
    assert Credential("acme", lambda token: anybody(token), store=store).token().reveal() == "anybody's"


def test_a_record_of_an_older_version_goes_on_and_is_told_once(told: list[Event]) -> None:
    store, mine = of_an_older_version(), Endpoint("endpoint A")
    acme = Credential("acme", mine, store=store)
    for _ in range(3):
        acme.token(refused=acme.token())
        acme.replayed(acme.token(), accepted=True)
    assert [event.kind for event in told].count(Kind.UNOWNED) == 1
    [event] = [event for event in told if event.kind is Kind.UNOWNED]
    assert "endpoint A" in event.detail
    assert record_of(store).owner == "endpoint A"
    foreign = Endpoint("endpoint B")
    with pytest.raises(ConfigurationError, match="belongs to another endpoint A, and this is endpoint B"):
        Credential("acme", foreign, store=store).token(refused=acme.token())
    assert not foreign.given


def test_a_record_that_is_only_waited_for_gets_no_owner() -> None:
    """What a store says that may have gone back is leased before anything is sent: that must not pass for a claim."""
    world = needy(None, NEXT)
    world.run(settle(knowing(recovery=5.0), world.load(), make_request(owner="endpoint A"), contested=False))
    assert (world.present.owner, world.sent) == (None, [])
    world.now += 6.0
    world.run(renew(EFFECTS, make_request(owner="endpoint A", **refusing(world))))
    assert (world.present.owner, world.kinds().count(Kind.UNOWNED)) == ("endpoint A", 1)


def test_an_older_record_is_not_made_a_function_s_by_its_refresh() -> None:
    """Both may share it, and the endpoint would be locked out."""
    store = of_an_older_version()
    Credential("acme", anybody, store=store).token()
    assert record_of(store).owner is None


def test_consent_is_an_argument() -> None:
    for many in (False, True):
        store, mine = MemoryStore(), Endpoint("endpoint B")
        Credential("acme", Endpoint("endpoint A"), store=store).login(expired())
        opened = (
            Credentials(mine, store=store, adopt=True)["acme"]
            if many
            else Credential("acme", mine, store=store, adopt=True)
        )
        assert opened.token().generation == 2
        assert (mine.given, record_of(store).owner) == (["refresh-0"], "endpoint B")


def test_consent_is_a_method_that_says_whose_it_was() -> None:
    store, mine = MemoryStore(), Endpoint("endpoint B")
    Credential("acme", Endpoint("endpoint A"), store=store).login(expired())
    acme = Credential("acme", mine, store=store)
    assert (acme.adopt(), acme.adopt()) == ("endpoint A", None)
    assert acme.token().generation == 2
    assert Credential("another", mine, store=store).adopt() is None
    assert Credential("acme", mine, store=of_an_older_version()).adopt() == "nobody"
    with pytest.raises(ConfigurationError, match="no `identity`"):
        Credential("acme", anybody, store=store).adopt()


def test_a_logout_or_a_deletion_revokes_at_no_other_endpoint(told: list[Event]) -> None:
    """The refresh token was sent to the revocation endpoint of whoever logged out."""
    for act in (lambda store: foreign_credential(store).logout(), delete):
        store = MemoryStore()
        Credential("acme", Endpoint("endpoint A"), store=store).login(first_token())
        FOREIGN.revoked.clear()
        act(store)
        assert not FOREIGN.revoked
        assert record_of(store).token is None
    assert [event.kind for event in told].count(Kind.NOT_REVOKED) == 2


FOREIGN = Endpoint("endpoint B")


def foreign_credential(store: Store) -> Credential:
    return Credential("acme", FOREIGN, store=store)


def delete(store: Store) -> None:
    with Credentials(FOREIGN, store=store) as many:
        many.delete("acme")


def test_after_a_logout_the_name_is_free_and_its_next_token_is_its_obtainer_s() -> None:
    store = MemoryStore()
    Credential("acme", Endpoint("endpoint A"), store=store).login(expired())
    Credential("acme", Endpoint("endpoint A"), store=store).logout()
    mine = Endpoint("endpoint B")
    Credential("acme", mine, store=store).login(expired())
    assert record_of(store).owner == "endpoint B"
    assert Credential("acme", mine, store=store).token().generation == 4


@pytest.mark.parametrize("grant", Grant)
def test_a_spooled_token_of_a_record_that_is_lost_is_still_its_owner_s(grant: Grant, tmp_path: Path) -> None:
    """Whoever replayed it named itself as the owner, and got the refresh token with the next refresh."""
    tmp_path.chmod(0o700)
    store, foreign = SQLiteStore(tmp_path / "tokens.db"), Endpoint("endpoint B")
    token = Token("spooled", "spooled-refresh", expires_at=1.0)
    family, generation = ("f", 1) if grant is Grant.REFRESH else ("", 0)
    entry = Spooled(family, generation, "a1", grant, refused=False, token=token, owner="endpoint A")
    assert Spool(store, "acme").write(entry)
    with pytest.raises(ConfigurationError, match="belongs to another endpoint A"):
        Credential("acme", foreign, store=store).token()
    assert not foreign.given


def test_what_is_in_memory_is_brought_back_as_its_owner_s() -> None:
    """Two refreshers of one name in one process: a store that had lost the record got the other's name for it."""
    store, mine, foreign = MemoryStore(), Endpoint("endpoint A"), Endpoint("endpoint B")
    acme = Credential("acme", mine, store=store)
    other = Credential("acme", foreign, store=store)
    held = acme.login(first_token(expires_in=3600))
    held = acme.token(refused=held)
    store._records.clear()
    with pytest.raises(ConfigurationError, match="belongs to another endpoint A"):
        other.token(refused=held)
    assert not foreign.given


def test_a_record_that_changes_its_owner_keeps_all_else() -> None:
    store = MemoryStore()
    Credential("acme", Endpoint("endpoint A"), store=store).login(expired())
    before = record_of(store)
    Credential("acme", Endpoint("endpoint B"), store=store).adopt()
    assert record_of(store) == replace(before, owner="endpoint B")


@pytest.mark.parametrize("answer", [NEXT, failed(FailureKind.DEAD, "invalid_grant")])
def test_consent_that_comes_while_a_request_is_on_its_way_stays(answer: Token | RefreshFailure) -> None:
    """The renewal wrote how it had ended over it, with the owner of before."""
    world = needy(None, answer)
    renewal = Process(world, renew(EFFECTS, make_request(**refusing(world), owner="endpoint A"))).until(Send)
    assert world.run(adopt(EFFECTS, make_request(owner="endpoint B"))) == "endpoint A"
    with contextlib.suppress(OnerefreshError):
        renewal.finish()
    assert world.present.state is not State.LEASED
    assert world.present.owner == "endpoint B"


def test_so_does_consent_that_comes_before_the_end_of_a_request_can_be_noted() -> None:
    world = needy(None, failed(FailureKind.DEAD, "invalid_grant"))
    mine = make_request(**refusing(world), owner="endpoint A")
    renewal = Process(world, renew(EFFECTS, mine), faults={(Cas, 2): store_goes_down})
    with pytest.raises(LoginRequired):
        renewal.finish()
    world.down = False
    assert world.run(adopt(EFFECTS, make_request(owner="endpoint B"))) == "endpoint A"
    for rest in world.left_to_do:
        world.run(rest)
    assert (world.present.state, world.present.owner) == (State.DEAD, "endpoint B")
