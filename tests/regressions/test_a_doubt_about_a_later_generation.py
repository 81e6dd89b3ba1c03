"""A refusal that proves nothing ends no session for those either who know only an older token of it."""

from __future__ import annotations

import pytest
from tests.promises.helpers import Kept

from onerefresh import Credential, LoginRequired, Token
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.record_text import decode
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.usefixtures("short_recovery")


def process(login: TokenEndpoint, store: Kept, token: object, name: str) -> Credential:
    """One more process of those that use the store: it has no memory in common with the others."""
    place = Kept(beside=store)
    place.name = name
    return Credential("acme", login, token=token, store=place)  # type: ignore[arg-type]


def doubted(credential: Credential, refused: Token) -> LoginRequired:
    with pytest.raises(LoginRequired) as told:
        credential.token(refused=refused)
    return told.value


def renewed(credential: Credential) -> Token:
    """The next token, which the API accepts."""
    newer = credential.token(refused=credential.token())
    credential.replayed(newer, accepted=True)
    return newer


@pytest.mark.seconds
def test_where_the_store_loses_the_record_nobody_says_that_the_session_is_over(
    auth_server: AuthServer, login: TokenEndpoint, store: Kept
) -> None:
    """Whoever knew generation 1, and was told of the doubt about generation 2, took it for a logout."""
    first = auth_server.issue()
    holder, other = process(login, store, first, "one"), process(login, store, first, "another")
    older, newer = other.token(), renewed(holder)
    auth_server.fail_next(status=401, body="")
    for credential, refused in ((holder, newer), (other, older)):
        error = doubted(credential, refused)
        assert (error.proven, error.generation) == (False, 2)
    store.records.clear()
    other._memory.failed = None  # a second later
    error = doubted(other, older)
    assert (error.proven, error.generation) == (False, 2)
    holder._memory.failed = None
    assert not doubted(holder, newer).proven
    assert holder.retry().generation == 3
    assert other.token(refused=older).generation == 3
    assert auth_server.counters.reuse_detected == 0


@pytest.mark.parametrize("last", ["a logout", "another session"])
def test_a_token_that_somebody_has_put_an_end_to_never_comes_back(
    auth_server: AuthServer, login: TokenEndpoint, store: Kept, last: str
) -> None:
    first = auth_server.issue()
    holder, other = process(login, store, first, "one"), process(login, store, first, "another")
    older, newer = other.token(), renewed(holder)
    auth_server.fail_next(2, status=401, body="")
    doubted(holder, newer)
    doubted(other, older)
    if last == "a logout":
        holder.logout()
    else:
        doubted(holder, holder.login(auth_server.issue()))
    other._memory.failed = None
    with pytest.raises(LoginRequired):
        other.token(refused=older)
    assert other._memory.known is None or other._memory.known.family != older.family
    store.records.clear()
    other._memory.failed = None
    with pytest.raises(LoginRequired):
        other.token()
    loaded = store.load("acme")
    assert loaded is None or decode(loaded.body, "acme").family != older.family
