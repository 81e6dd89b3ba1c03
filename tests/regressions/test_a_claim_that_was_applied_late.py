"""A claim is applied late, so the renewal's next claim meets a conflict, and the renewal goes on under the first one.

The process took the claim that was refused for its own: where the store lost the record, it would have restored a claim
that nobody held, and that nobody would have released.
"""

from __future__ import annotations

from tests.regressions.test_stores_of_ones_own import Dictionary

from onerefresh import Credential, Token
from onerefresh.credential.registry import memory_of
from onerefresh.record import Lease
from onerefresh.record_text import decode
from onerefresh.store import StoreOutcomeUnknown

KEY = "acme"


class Late(Dictionary):
    """It applies the first claim right before the second one arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[tuple[str | None, str]] = []

    def cas(self, key: str, expected: str | None, body: str) -> str:
        if decode(body, key).lease is not None:
            self.claims.append((expected, body))
            if len(self.claims) == 1:
                raise StoreOutcomeUnknown("the answer was lost")
            if len(self.claims) == 2:
                super().cas(key, *self.claims[0])
        return super().cas(key, expected, body)

    def lease(self) -> Lease | None:
        return decode(self.records[KEY].body, KEY).lease


def test_a_process_restores_the_claim_under_which_it_sends() -> None:
    store = Late()
    held: list[tuple[Lease | None, Lease | None]] = []

    def refresh(token: Token) -> Token:
        sent = memory_of(store, KEY).leased
        held.append((store.lease(), sent.record.lease if sent is not None else None))
        return Token("access 2", "refresh 2", expires_in=3600.0)

    credential = Credential(KEY, refresh, store=store)
    credential.login(Token("access 1", "refresh 1", expires_in=0.0))
    assert credential.token().generation == 2
    assert len(store.claims) == 2
    [(stored, own)] = held
    assert stored is not None
    assert own == stored
