"""The envelope: what was sealed opens as it was, and nothing else opens."""

from __future__ import annotations

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.leaks import ACCESS, REFRESH, SEED_ACCESS, SEED_REFRESH, assert_silent

from onerefresh import transitions as records
from onerefresh.record_text import decode, encode
from onerefresh.store import is_sealed
from onerefresh.stores.envelope import Envelope, Key, Purpose, parse, sealed, unsealed
from onerefresh.token import Token

KEY, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))
RECORD = encode(records.new_session(None, Token(ACCESS, REFRESH), now=0.0, owner=None, what="seed"))


def opened(text: str, key: Key = KEY, purpose: Purpose = Purpose.RECORD, name: str = "acme") -> str | None:
    envelope = parse(text)
    assert isinstance(envelope, Envelope), envelope
    found = unsealed(envelope, key, purpose, name)
    return None if found is None else found.reveal()


@given(st.text(st.characters()), st.sampled_from(Purpose), st.text(min_size=1))
def test_what_was_sealed_opens_as_it_was(text: str, purpose: Purpose, name: str) -> None:
    kept = sealed(text, KEY, purpose, name)
    assert is_sealed(kept)
    assert kept.isascii()
    assert opened(kept, purpose=purpose, name=name) == text


def test_an_envelope_shows_its_key_s_id_and_the_generation_and_no_token() -> None:
    kept = sealed(RECORD, KEY, Purpose.RECORD, "acme")
    fields = json.loads(kept)
    assert list(fields) == ["sealed", "schema", "key", "generation", "nonce", "ciphertext"]
    assert (fields["sealed"], fields["key"], fields["generation"]) == ("A256GCM", KEY.id, 1)
    assert_silent(kept, repr(parse(kept)), base64.b64decode(fields["ciphertext"]).decode("latin-1"))
    assert decode(opened(kept) or "", "acme").generation == 1


OTHER_TEXTS = [
    *("", "no json", "[]", "[1]", "7", "null", "{}", "[" * 100_000),
    *('{"generation": "7"}', '{"generation": 1.5}', '{"generation": true}', '{"generation": {}}'),
]


@pytest.mark.parametrize("text", OTHER_TEXTS, ids=range(len(OTHER_TEXTS)))
def test_a_text_that_tells_of_no_generation_is_sealed_all_the_same(text: str) -> None:
    kept = sealed(text, KEY, Purpose.RECORD, "acme")
    assert json.loads(kept)["generation"] is None
    assert opened(kept) == text


def test_each_nonce_is_new_and_has_96_bits() -> None:
    nonces = {json.loads(sealed(RECORD, KEY, Purpose.RECORD, "acme"))["nonce"] for _ in range(1000)}
    assert len(nonces) == 1000
    assert {len(base64.b64decode(nonce)) for nonce in nonces} == {12}


def test_neither_key_nor_name_nor_purpose_may_be_another() -> None:
    kept = sealed(RECORD, KEY, Purpose.RECORD, "acme")
    assert opened(kept) == RECORD
    assert opened(kept, key=OTHER) is None
    assert opened(kept, name="ACME") is None
    assert opened(kept, name="") is None
    assert opened(kept, purpose=Purpose.SPOOL) is None


def test_a_name_cannot_be_written_so_that_it_passes_for_another_with_its_generation() -> None:
    kept = sealed('{"generation": 1}', KEY, Purpose.RECORD, 'a", "b')
    assert opened(kept, name="a") is None


@pytest.mark.parametrize(("field", "value"), [("generation", 2), ("generation", None), ("generation", 0)])
def test_the_generation_is_bound(field: str, value: object) -> None:
    fields = json.loads(sealed(RECORD, KEY, Purpose.RECORD, "acme"))
    fields[field] = value
    assert opened(json.dumps(fields)) is None


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("schema", 3, "update onerefresh"),
        ("schema", 2, "damaged"),  # it names no context
        ("schema", 0, "damaged"),
        ("schema", "2", "damaged"),
        ("sealed", "A128GCM", "update onerefresh"),
        ("sealed", None, "damaged"),
        ("key", "no id of a key", "damaged"),
        ("key", None, "damaged"),
        ("generation", "1", "damaged"),
        ("generation", True, "damaged"),
        ("nonce", "a", "damaged"),
        ("nonce", 7, "damaged"),
        ("ciphertext", "ä", "damaged"),
        ("ciphertext", None, "damaged"),
    ],
)
def test_an_envelope_with_a_field_that_cannot_be_is_none(field: str, value: object, problem: str) -> None:
    fields = json.loads(sealed(RECORD, KEY, Purpose.RECORD, "acme"))
    without = {name: found for name, found in fields.items() if name != field}
    assert parse(json.dumps(without)) == "is damaged"
    assert problem in str(parse(json.dumps({**fields, field: value})))


KEPT = sealed(RECORD, KEY, Purpose.RECORD, "acme")
"""One for all examples: its nonce is random, and what is drawn depends on it."""


@given(st.data())
def test_an_envelope_that_was_changed_anywhere_does_not_open(data: st.DataObject) -> None:
    kept = KEPT
    place = data.draw(st.integers(0, len(kept) - 1))
    new = data.draw(st.sampled_from('0aZ+/=,:{}"\\ \0ä').filter(lambda char: char != kept[place]))
    changed = data.draw(st.sampled_from([kept[:place] + new + kept[place + 1 :], kept[:place], kept + new]))
    found = parse(changed) if is_sealed(changed) else "no envelope"
    if isinstance(found, Envelope) and found != parse(kept):
        key = KEY if found.key == KEY.id else OTHER
        assert unsealed(found, key, Purpose.RECORD, "acme") is None


def test_the_nonces_that_a_cipher_refuses_open_nothing() -> None:
    fields = json.loads(sealed(RECORD, KEY, Purpose.RECORD, "acme"))
    for nonce in ("", "AAAA", base64.b64encode(bytes(500)).decode()):
        assert opened(json.dumps({**fields, "nonce": nonce})) is None
    assert opened(json.dumps({**fields, "ciphertext": ""})) is None


def test_a_key_is_named_by_a_digest_and_shows_nothing_of_itself() -> None:
    assert re.fullmatch("[0-9a-f]{16}", KEY.id)
    assert KEY.id != OTHER.id
    assert Key(bytes(range(32))).id == KEY.id
    assert repr(KEY) == f"Key({KEY.id})"
    assert bytes(range(32)).hex()[:16] not in repr(KEY)


def test_these_tests_seal_what_would_be_seen() -> None:
    with pytest.raises(AssertionError):
        assert_silent(RECORD)
    assert SEED_ACCESS != SEED_REFRESH
