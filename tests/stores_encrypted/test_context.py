"""A context binds what is encrypted to the place where it belongs: a record copied from another database is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.core.calls import Refresher, first_token
from tests.core.leaks import ACCESS, REFRESH, assert_error_is_silent
from tests.golden.cases import GOLDEN, KEY

from onerefresh import ConfigurationError, Credential, Credentials, StoreUnavailable
from onerefresh import transitions as records
from onerefresh.record import Grant
from onerefresh.record_text import encode
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.store import Unreadable, Versioned
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import FunctionKey
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore
from onerefresh.token import Token

RECORD = encode(records.new_session(None, Token(ACCESS, REFRESH), now=0.0, owner=None, what="seed"))
HERE = FunctionKey(lambda: KEY)


def opened(inner: MemoryStore, context: str | None = None, *, require_context: bool = False) -> EncryptedStore:
    return EncryptedStore(inner, HERE, context=context, require_context=require_context)


def copied(from_context: str | None) -> MemoryStore:
    """A database into which somebody has copied a record from one of another context."""
    there, here = MemoryStore(), MemoryStore()
    opened(there, from_context).cas("acme", None, RECORD)
    found = there.load("acme")
    assert found is not None
    here.cas("acme", None, found.body)
    return here


WRONG: dict[str, tuple[str | None, Callable[[MemoryStore], EncryptedStore], str]] = {
    "another": (
        "staging",
        lambda inner: opened(inner, "production"),
        "encrypted for another context than 'production': it was copied from another place, or context= was changed",
    ),
    "none here": (
        "staging",
        opened,
        "encrypted for a context, and this store has none: open it with the right context=",
    ),
    "none there, and one is required": (
        None,
        lambda inner: opened(inner, "production", require_context=True),
        "encrypted without a context, and require_context=True refuses it for 'production'",
    ),
    "much the same": ("production ", lambda inner: opened(inner, "production"), "another context than 'production'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_record_from_another_place_is_refused_and_left_as_it_is(what: str) -> None:
    """It opened: the name alone was bound, and each database had the same."""
    context, open_here, said = WRONG[what]
    inner = copied(context)
    before, refresher = inner.load("acme"), Refresher()
    with Credential("acme", refresher, token=first_token(), store=open_here(inner)) as acme:
        for act in (acme.token, acme.status, acme.retry, acme.logout, lambda: acme.login(first_token())):
            with pytest.raises(StoreUnavailable, match=said) as caught:
                act()
            assert str(caught.value).endswith("; nothing was changed")
            assert_error_is_silent(caught.value)
    assert (inner.load("acme"), refresher.calls) == (before, 0)
    [(key, found)] = open_here(inner).scan()
    assert isinstance(found, Unreadable)
    assert key == "acme"
    with Credentials(refresher, store=open_here(inner)) as many:
        many.delete("acme")
        assert many["acme"].status().state == "empty"


def test_the_same_context_opens_and_one_that_is_changed_by_hand_does_not() -> None:
    inner = copied("production")
    found = inner.load("acme")
    assert found is not None
    assert opened(inner, "production").load("acme") == (found.version, RECORD)
    text = json.loads(found.body)
    assert (text["schema"], len(text["context"])) == (2, 16)
    assert "production" not in found.body
    foreign = json.loads((copied("staging").load("acme") or found).body)
    relabelled = inner.cas("acme", found.version, json.dumps({**foreign, "context": text["context"]}))
    with pytest.raises(StoreUnavailable, match="was changed since it was encrypted"):
        opened(inner, "production").load("acme")
    bare = {name: value for name, value in foreign.items() if name != "context"}
    inner.cas("acme", relabelled, json.dumps({**bare, "schema": 1}))
    with pytest.raises(StoreUnavailable, match="was changed since it was encrypted"):
        opened(inner, "production").load("acme")


def test_what_was_encrypted_without_a_context_opens_until_it_is_written_again() -> None:
    inner = MemoryStore()
    inner.cas("acme", None, (GOLDEN / "envelopes/record-0.json").read_text("ascii"))
    store = opened(inner, "production")
    found = store.load("acme")
    assert found is not None
    store.cas("acme", found.version, found.body)
    assert (opened(inner, "production", require_context=True).load("acme") or Versioned("", "")).body == found.body
    with pytest.raises(StoreUnavailable, match="this store has none"):
        opened(inner).load("acme")


def test_without_a_context_nothing_is_written_otherwise_than_before() -> None:
    inner = MemoryStore()
    opened(inner).cas("acme", None, RECORD)
    assert list(json.loads((inner.load("acme") or Versioned("", "")).body)) == [
        *("sealed", "schema", "key", "generation", "nonce", "ciphertext")
    ]


def test_the_first_key_encrypts_anew_with_the_context() -> None:
    inner, old = copied("production"), FunctionKey(lambda: KEY)
    store = EncryptedStore(inner, FunctionKey(lambda: bytes(32)), old, context="production", require_context=True)
    found = store.load("acme")
    assert found is not None
    store.cas("acme", found.version, found.body)
    alone = EncryptedStore(inner, FunctionKey(lambda: bytes(32)), context="production", require_context=True)
    assert (alone.load("acme") or Versioned("", "")).body == RECORD


def test_a_spooled_token_is_bound_as_well(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    entry = Spooled("f", 1, "a1", Grant.REFRESH, refused=False, token=Token(ACCESS, REFRESH))
    inner = SQLiteStore(tmp_path / "tokens.db")
    folder = tmp_path / "spool"

    def spool(context: str | None) -> Spool:
        return Spool(EncryptedStore(inner, HERE, context=context), "acme", folder)

    assert spool("production").write(entry)
    assert spool("production").read() == entry
    for context in ("staging", None):
        with pytest.raises(StoreUnavailable, match="the spooled token was encrypted for a") as caught:
            spool(context).read()
        assert_error_is_silent(caught.value)


def test_one_context_is_shared_by_many_credentials() -> None:
    inner = MemoryStore()
    with Credentials(Refresher(), store=opened(inner, "production")) as many:
        many["a"].login(first_token(expires_in=3600))
    with Credentials(Refresher(), store=opened(inner, "production", require_context=True)) as many:
        assert many["a"].token().generation == 1


@pytest.mark.parametrize("context", ["", 7, b"production"])
def test_what_is_no_context_is_refused(context: object) -> None:
    with pytest.raises(ConfigurationError, match="context must be a non-empty string"):
        EncryptedStore(MemoryStore(), HERE, context=context)  # type: ignore[arg-type]  # what a user may give


def test_a_context_that_is_required_must_be_given_and_goes_with_no_plain_text() -> None:
    with pytest.raises(ConfigurationError, match="needs a context"):
        EncryptedStore(MemoryStore(), HERE, require_context=True)
    with pytest.raises(ConfigurationError, match="adopt_plain"):
        EncryptedStore(MemoryStore(), HERE, context="production", require_context=True, adopt_plain=True)


@pytest.mark.parametrize("context", ["a\0b", "\ud800", "x" * 10_000, " ", "prod'\"uction"])
def test_any_text_is_a_context(context: str) -> None:
    inner = copied(context)
    assert (opened(inner, context).load("acme") or Versioned("", "")).body == RECORD
