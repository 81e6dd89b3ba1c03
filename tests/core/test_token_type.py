"""Tokens that are no bearer tokens are not sent as such (RFC 6749 section 7.1); odd names for them are said once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.core.calls import PATIENCE, Refresher, expired, first_token, listening

from onerefresh import ConfigurationError, Credential, RefreshProtocolError
from onerefresh.events import Event, Kind, subscribe


class Typed(Refresher):
    """Its answers are of a type."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def end(self) -> dict[str, object]:
        return {**super().end(), "token_type": self.kind}


def odd(heard: list[Event]) -> list[str]:
    return [event.detail for event in heard if event.kind is Kind.ODD_TYPE]


def test_an_answer_of_another_type_is_refused_with_what_to_do() -> None:
    credential = Credential("acme", Typed("DPoP"), token=expired())
    with pytest.raises(RefreshProtocolError, match=r"of type 'DPoP'.*issue bearer tokens to this client"):
        credential.token()
    assert credential.status().failure is not None


def test_the_refresh_token_in_it_is_kept() -> None:
    refresher = Typed("DPoP")
    credential = Credential("acme", refresher, token=expired())
    with pytest.raises(RefreshProtocolError, match="of type 'DPoP'"):
        credential.token()
    refresher.kind = "Bearer"
    assert credential.retry().reveal() == "access-2"
    assert refresher.given[1].reveal_refresh_token() == "refresh-1"


@pytest.mark.parametrize("kind", ["DPoP", "mac", "N_A"])
def test_a_first_token_of_another_type_is_refused(kind: str) -> None:
    answer = first_token(token_type=kind)
    with pytest.raises(ConfigurationError, match=f"token=: .*of type '{kind}'"):
        Credential("acme", Refresher(), token=answer)
    credential = Credential("acme", Refresher(), token=first_token())
    with pytest.raises(ConfigurationError, match=rf"login\(\): .*of type '{kind}'"):
        credential.login(answer)
    assert credential.bearer() == "access-0", "nothing has changed"


def test_an_odd_type_is_used_and_said_once() -> None:
    with listening() as heard:
        credential = Credential("acme", Typed("bot"), token=first_token(token_type="bot"))
        assert odd(heard) == ["its token_type is 'bot'; it is sent as a bearer token"]
        for number in (1, 2, 3):
            assert credential.bearer() == f"access-{number - 1}"
            credential.replayed(credential.token(refused=credential.token()), accepted=True)
    assert len(odd(heard)) == 1


def test_it_is_said_by_each_process_that_finds_it_and_at_a_login(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/tokens.db"
    with listening() as heard:
        Credential("acme", Refresher(), store=store).login(first_token(token_type="Token"))
        assert len(odd(heard)) == 1
        said = threading.Event()
        unsubscribe = subscribe(lambda event: said.set() if event.kind is Kind.ODD_TYPE else None)
        with Credential("acme", Refresher(), store=store) as credential:
            assert credential.token() == credential.token()
            assert said.wait(PATIENCE)  # on the renewal's thread, when the callers have their token
        unsubscribe()
        assert len(odd(heard)) == 2
