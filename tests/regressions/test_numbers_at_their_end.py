"""Numbers that nothing may come after: the writer never writes what the reader refuses, and no token is lost by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.calls import Refresher, expired
from tests.core.driver import NEXT, START, needy, seed

from onerefresh import Credential, StoreUnavailable
from onerefresh import transitions as records
from onerefresh.record import Grant, Record, State
from onerefresh.record_text import decode, encode
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.stored_values import LAST_GENERATION, MOST
from onerefresh.stores.memory import MemoryStore
from onerefresh.verdict import FailureKind, Verdict


def at(generation: int) -> Record:
    found = records.new_session(None, seed(lives=1.0), now=START, owner=None, what="seed")
    assert found.token is not None
    return replace(found, generation=generation, token=replace(found.token, generation=generation))


def test_nothing_is_sent_for_the_last_generation_and_a_login_begins_anew() -> None:
    """One request was sent, and the record that held its answer could not be read."""
    store, refresher = MemoryStore(), Refresher()
    fields = json.loads(encode(at(LAST_GENERATION)))
    store.cas("acme", None, json.dumps(fields))
    acme = Credential("acme", refresher, store=store)
    with pytest.raises(StoreUnavailable, match=r"damaged.*log in again to replace it"):
        acme.token(refused=acme.token())
    assert refresher.calls == 0
    assert acme.status().generation == LAST_GENERATION
    assert acme.login(expired()).generation == 1
    assert acme.token().generation == 2
    store.cas("other", None, json.dumps(fields))
    other = Credential("other", refresher, store=store)
    other.logout()
    assert other.status().generation == 1


def test_the_generation_before_it_is_refreshed_and_can_be_read() -> None:
    store = MemoryStore()
    store.cas("acme", None, encode(at(LAST_GENERATION - 1)))
    acme = Credential("acme", Refresher(), store=store)
    assert acme.token(refused=acme.token()).generation == LAST_GENERATION
    assert Credential("acme", Refresher(), store=store).status().generation == LAST_GENERATION


def test_a_later_one_is_damage() -> None:
    fields = json.loads(encode(at(LAST_GENERATION)))
    fields["generation"] += 1
    del fields["checksum"]
    with pytest.raises(StoreUnavailable, match="damaged"):
        decode(json.dumps(fields), "acme")


def test_counts_stay_at_their_end() -> None:
    world = needy()
    verdict = Verdict(FailureKind.DOUBTFUL, "no")
    failed = records.released(
        replace(world.present, state=State.LEASED, lease=world.lease()), verdict, now=START, jitter=0.0
    )
    assert failed.failure is not None
    full = replace(failed, failure=replace(failed.failure, count=MOST + 1, doubts=MOST + 1))
    again = decode(encode(full), "acme")
    assert again.failure is not None
    assert (again.failure.count, again.failure.doubts) == (MOST, MOST)


@pytest.mark.parametrize(("generation", "is_read"), [(LAST_GENERATION - 1, True), (LAST_GENERATION, False)])
def test_a_spool_file_whose_token_could_not_be_numbered_is_passed_over(
    tmp_path: Path, generation: int, *, is_read: bool
) -> None:
    """It was restored as a record that could not be read, again and again."""
    tmp_path.chmod(0o700)
    spool = Spool(MemoryStore(), "acme", tmp_path)
    assert spool.write(Spooled("family", generation, "a1", Grant.REFRESH, refused=False, token=NEXT))
    assert (spool.read() is not None) is is_read
