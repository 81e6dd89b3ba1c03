"""What each client says of the target of a call: the origin and the path, as they were sent, and no query."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from tests.clients.conftest import OpenDriver, refresher

from onerefresh import Credential, Token
from onerefresh.credential.targets import Refusal
from onerefresh.damping import Target
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow


class Telling(Credential):
    """Notes what the integration says of each target."""

    told: list[tuple[str, str]]
    origins: set[str]

    def _note(self, what: str, target: Target | None) -> None:
        assert target is not None
        self.told.append((what, target[1]))
        self.origins.add(target[0])

    def accepted(self, token: Token, target: Target) -> None:
        self._note("accepted", target)
        super().accepted(token, target)

    def replayed(self, token: Token, *, accepted: bool, target: Target | None = None) -> None:
        self._note("replay accepted" if accepted else "replay refused", target)
        super().replayed(token, accepted=accepted, target=target)

    def token(
        self,
        *,
        refused: Token | Refusal | str | None = None,
        max_wait: float | None = None,
        min_valid: float | None = None,
    ) -> Token:
        if refused is not None:
            self._note("refused", refused.target if isinstance(refused, Refusal) else None)
        return super().token(refused=refused, max_wait=max_wait, min_valid=min_valid)

    async def atoken(
        self,
        *,
        refused: Token | Refusal | str | None = None,
        max_wait: float | None = None,
        min_valid: float | None = None,
    ) -> Token:
        if refused is not None:
            self._note("refused", refused.target if isinstance(refused, Refusal) else None)
        return await super().atoken(refused=refused, max_wait=max_wait, min_valid=min_valid)


@pytest.fixture
def credential(server: AuthServer) -> Telling:
    credential = Telling("acme", refresher(server), token=server.issue())
    credential.told, credential.origins = [], set()
    return credential


def test_a_target_is_the_origin_and_the_path_without_the_query(
    open_driver: OpenDriver, server: AuthServer, credential: Telling
) -> None:
    driver = open_driver(credential)
    assert driver.get(f"{server.api_url}/a%20b/c?page=1").status == 200
    assert driver.get(f"{server.api_url}/a%20b/c?page=2#there").status == 200
    assert driver.get(f"{server.api_url}/refused?page=3").status == 401
    assert credential.told == [
        ("accepted", "/api/a%20b/c"),
        ("refused", "/api/refused"),
        ("replay refused", "/api/refused"),
    ], "and an accepted one is told once"
    assert credential.origins == {server.url}


def test_after_a_redirect_it_is_that_of_the_hop_that_was_answered(
    open_driver: OpenDriver, server: AuthServer, credential: Telling
) -> None:
    driver = open_driver(credential)
    assert driver.get(f"{server.api_url}/redirect?to={quote('/api/refused?a=b')}").status == 401
    assert [told for told in credential.told if told[0] != "accepted"] == [
        ("refused", "/api/refused"),
        ("replay refused", "/api/refused"),
    ]


def test_a_good_one_is_answered_although_a_bad_one_was_refused_just_now(
    open_driver: OpenDriver, server: AuthServer, credential: Telling
) -> None:
    driver = open_driver(credential)
    assert driver.get(f"{server.api_url}/refused").status == 401
    assert driver.get(f"{server.api_url}/items?a=b").status == 200
    server.revoke_access()
    assert driver.get(f"{server.api_url}/other").status == 401, "it has accepted nothing yet"
    assert driver.get(f"{server.api_url}/items?c=d").status == 200
    assert driver.get(f"{server.api_url}/refused").status == 401
    assert server.counters.token_requests == 2
