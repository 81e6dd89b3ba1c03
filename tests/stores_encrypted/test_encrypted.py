"""The encrypted store: nothing is written in plain, nothing wrong is read, and nothing unreadable is overwritten."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.core.leaks import ACCESS, REFRESH, assert_error_is_silent, assert_silent

from onerefresh import ConfigurationError, StoreUnavailable
from onerefresh import transitions as records
from onerefresh.record_text import encode
from onerefresh.store import AdvisoryLock, Store, StoreTime, Versioned, is_sealed
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import EnvironmentKey, FunctionKey, KeyFile, KeySource
from onerefresh.stores.memory import MemoryStore
from onerefresh.token import Token

RECORD = encode(records.new_session(None, Token(ACCESS, REFRESH), now=0.0, owner=None, what="seed"))
OLD, NEW, OTHER = (base64.b64encode(bytes(range(start, start + 32))).decode() for start in (0, 50, 100))


def holding(*keys: str) -> FunctionKey:
    return FunctionKey(lambda: "\n".join(keys))


def key_id(store: Store, key: str = "acme") -> str:
    found = store.load(key)
    assert found is not None
    return str(json.loads(found.body)["key"])


def plain(store: Store, key: str = "acme") -> str:
    found = store.load(key)
    assert found is not None
    return found.body


def test_what_the_wrapped_store_learns_of_itself_is_told() -> None:
    class Learning(MemoryStore):
        def load(self, key: str) -> Versioned | None:
            self.may_go_back, self.look_every, self.head_start = True, 7.0, 0.5
            return super().load(key)

    store = EncryptedStore(Learning(), holding(NEW))
    assert (store.may_go_back, store.look_every, store.head_start) == (False, MemoryStore.look_every, 0.0)
    store.load("acme")
    assert (store.may_go_back, store.look_every, store.head_start) == (True, 7.0, 0.5)


# --- Reading and writing ---


def test_the_wrapped_store_holds_no_token_and_the_wrapper_gives_it_back() -> None:
    inner = MemoryStore()
    store = EncryptedStore(inner, holding(NEW))
    version = store.cas("acme", None, RECORD)
    assert is_sealed(plain(inner))
    assert_silent(plain(inner), repr(vars(store)), repr(store.load("acme")))
    assert store.load("acme") == (version, RECORD)
    assert EncryptedStore(inner, holding(NEW)).load("acme") == (version, RECORD)


def test_the_same_text_is_never_encrypted_the_same_way() -> None:
    inner = MemoryStore()
    store = EncryptedStore(inner, holding(NEW))
    version, seen = store.cas("acme", None, RECORD), {plain(inner)}
    for _ in range(20):
        version = store.cas("acme", version, RECORD)
        seen.add(plain(inner))
    assert len(seen) == 21


def test_everything_else_is_passed_to_the_wrapped_store() -> None:
    class Recording(MemoryStore):
        name, durable, may_go_back = "recording", True, True
        heard: list[object]

        def wait(self, key: str, version: str, timeout: float) -> None:
            self.heard.append((key, version, timeout))

        def hold(self, key: str) -> AdvisoryLock | None:
            self.heard.append(key)
            return None

        def moment(self) -> StoreTime:
            return StoreTime("era", 7.0)

        def close(self) -> None:
            self.heard.append("closed")

    inner = Recording()
    inner.heard = []
    store = EncryptedStore(inner, holding(NEW))
    assert (store.name, store.durable, store.may_go_back) == ("recording", True, True)
    store.wait("acme", "1", 2.0)
    assert store.hold("acme") is None
    assert store.moment() == StoreTime("era", 7.0)
    store.close()
    assert inner.heard == [("acme", "1", 2.0), "acme", "closed"]


def test_no_part_of_a_store_is_forgotten() -> None:
    """What a store may say or do beside `load` and `cas` has defaults that would hide what the wrapped one does."""
    parts = {name for name in vars(Store) if not name.startswith("_")}
    assert parts <= {*vars(EncryptedStore), *vars(EncryptedStore(MemoryStore(), holding(NEW)))}


# --- What is not read, and stays as it is ---


def changed(text: str, **fields: object) -> str:
    found = json.loads(text)
    return json.dumps({**found, **fields}, separators=(",", ":"))


def turned(text: str) -> str:
    """One bit of the ciphertext changed."""
    bytes_ = bytearray(base64.b64decode(json.loads(text)["ciphertext"]))
    bytes_[5] ^= 1
    return changed(text, ciphertext=base64.b64encode(bytes_).decode())


def of_another_credential(text: str) -> str:
    inner = MemoryStore()
    EncryptedStore(inner, holding(OLD)).cas("other", None, RECORD)
    return plain(inner, "other")


def spooled(text: str) -> str:
    return EncryptedStore(MemoryStore(), holding(OLD)).seal("acme", RECORD)


UNREADABLE: dict[str, tuple[Callable[[str], str], KeySource, str]] = {
    "another key": (
        lambda text: text,
        holding(NEW),
        r"with another key, [0-9a-f]{16} \(the function <lambda> holds [0-9a-f]{16}\): give that key too",
    ),
    "no key at all": (
        lambda text: text,
        EnvironmentKey("ONEREFRESH_TEST_NO_SUCH"),
        "the environment variable ONEREFRESH_TEST_NO_SUCH holds no key",
    ),
    "a changed ciphertext": (turned, holding(OLD), "was changed since it was encrypted, or belongs to another"),
    "a changed generation": (lambda text: changed(text, generation=2), holding(OLD), "was changed since"),
    "another credential's record": (of_another_credential, holding(OLD), "belongs to another credential"),
    "a spooled token": (spooled, holding(OLD), "was changed since"),
    "a record cut short": (
        lambda text: text[:-9],
        holding(OLD),
        "the stored record is damaged: restore it, or log in again",
    ),
    "a later schema": (
        lambda text: changed(text, schema=3),
        holding(OLD),
        "newer version of onerefresh: update onerefresh",
    ),
    "no encryption": (
        lambda text: RECORD,
        holding(OLD),
        r"is not encrypted: .* use EncryptedStore\(…, adopt_plain=True",
    ),
    "no record": (lambda text: "garbage", holding(OLD), "is not encrypted and is damaged: restore it, or log in again"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_told_and_kept(what: str) -> None:
    change, source, said = UNREADABLE[what]
    inner = MemoryStore()
    version = EncryptedStore(inner, holding(OLD)).cas("acme", None, RECORD)
    version = inner.cas("acme", version, change(plain(inner)))
    before = inner.load("acme")
    with pytest.raises(StoreUnavailable, match=said) as caught:
        EncryptedStore(inner, source).load("acme")
    assert str(caught.value).endswith("; nothing was changed")
    assert caught.value.credential == "acme"
    assert_error_is_silent(caught.value)
    assert (inner.load("acme"), version) == (before, before.version if before else None)


def test_a_store_without_keys_of_its_own_does_not_take_an_envelope_for_a_damaged_record() -> None:
    text = EncryptedStore(MemoryStore(), holding(OLD)).seal("acme", RECORD)
    with pytest.raises(StoreUnavailable, match="it is encrypted: open its store as an EncryptedStore"):
        MemoryStore().unseal("acme", text)
    assert MemoryStore().unseal("acme", MemoryStore().seal("acme", RECORD)) == RECORD


@pytest.mark.parametrize("adopt_plain", [False, True])
def test_a_spooled_text_opens_only_where_it_belongs(adopt_plain: bool) -> None:
    store = EncryptedStore(MemoryStore(), holding(OLD), adopt_plain=adopt_plain)
    text = store.seal("acme", RECORD)
    assert_silent(text)
    assert store.unseal("acme", text) == RECORD
    for key, other, said in [
        ("other", store, "the spooled token was changed since it was encrypted, or belongs to another credential"),
        ("acme", EncryptedStore(MemoryStore(), holding(NEW)), "the spooled token was encrypted with another key"),
    ]:
        with pytest.raises(StoreUnavailable, match=said) as caught:
            other.unseal(key, text)
        assert_error_is_silent(caught.value)


def test_plain_records_and_spooled_tokens_are_read_where_that_was_said_and_encrypted_when_written() -> None:
    inner = MemoryStore()
    version = inner.cas("acme", None, RECORD)
    store = EncryptedStore(inner, holding(NEW), adopt_plain=True)
    assert store.load("acme") == (version, RECORD)
    assert store.unseal("acme", RECORD) == RECORD
    assert not is_sealed(plain(inner))
    version = store.cas("acme", version, RECORD)
    assert is_sealed(plain(inner))
    assert EncryptedStore(inner, holding(NEW)).load("acme") == (version, RECORD)
    with pytest.raises(StoreUnavailable, match="is not encrypted") as caught:
        EncryptedStore(inner, holding(NEW)).unseal("acme", RECORD)
    assert_error_is_silent(caught.value)


# --- Keys ---


def test_each_key_decrypts_and_the_first_encrypts() -> None:
    inner = MemoryStore()
    version = EncryptedStore(inner, holding(OLD)).cas("acme", None, RECORD)
    old = key_id(inner)
    store = EncryptedStore(inner, holding(NEW), holding(OTHER, OLD))
    assert store.load("acme") == (version, RECORD)
    assert key_id(inner) == old
    version = store.cas("acme", version, RECORD)
    assert key_id(inner) != old
    assert EncryptedStore(inner, holding(NEW)).load("acme") == (version, RECORD)


def test_a_key_that_was_added_while_the_program_runs_is_found() -> None:
    inner, keys = MemoryStore(), [OLD]
    running = EncryptedStore(inner, FunctionKey(lambda: " ".join(keys)))
    version = running.cas("acme", None, RECORD)
    keys.insert(0, NEW)
    version = EncryptedStore(inner, holding(NEW)).cas("acme", version, RECORD)
    assert running.load("acme") == (version, RECORD)
    running.cas("acme", version, RECORD)
    assert key_id(inner) == key_id_of(NEW)


def key_id_of(key: str) -> str:
    inner = MemoryStore()
    EncryptedStore(inner, holding(key)).cas("acme", None, "")
    return key_id(inner)


def test_keys_are_asked_for_when_one_is_needed_and_then_kept() -> None:
    asked = []

    def my_keys() -> str:
        asked.append(1)
        return OLD

    inner = MemoryStore()
    store = EncryptedStore(inner, my_keys)
    assert store.load("acme") is None
    assert asked == []
    version = store.cas("acme", None, RECORD)
    for _ in range(5):
        store.load("acme")
        version = store.cas("acme", version, RECORD)
    assert asked == [1]
    EncryptedStore(inner, holding(NEW)).cas("acme", version, RECORD)
    for count in (2, 3):
        with pytest.raises(StoreUnavailable, match="another key"):
            store.load("acme")
        assert len(asked) == count


def test_a_source_that_fails_is_asked_again_the_next_time() -> None:
    answers: list[str | Exception] = [ConnectionError("the vault is sealed"), OLD]

    def my_keys() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    store = EncryptedStore(MemoryStore(), my_keys)
    with pytest.raises(StoreUnavailable, match="raised ConnectionError") as caught:
        store.cas("acme", None, RECORD)
    assert_error_is_silent(caught.value)
    store.cas("acme", None, RECORD)
    assert store.load("acme") is not None


def test_a_lost_key_file_is_not_made_anew_to_read_what_it_encrypted(tmp_path: Path) -> None:
    inner, path = MemoryStore(), tmp_path / "acme.key"
    store = EncryptedStore(inner, KeyFile(path))
    assert store.load("acme") is None
    assert not path.exists()
    store.cas("acme", None, RECORD)
    path.rename(tmp_path / "moved")
    with pytest.raises(StoreUnavailable, match=f"the key file {path} holds no key"):
        EncryptedStore(inner, KeyFile(path)).load("acme")
    assert not path.exists()
    (tmp_path / "moved").rename(path)
    assert plain(EncryptedStore(inner, KeyFile(path))) == RECORD


def test_a_new_key_file_in_front_of_an_old_one_is_made_by_the_first_write(tmp_path: Path) -> None:
    inner = MemoryStore()
    version = EncryptedStore(inner, KeyFile(tmp_path / "old.key")).cas("acme", None, RECORD)
    store = EncryptedStore(inner, KeyFile(tmp_path / "new.key"), KeyFile(tmp_path / "old.key"))
    assert plain(store) == RECORD
    assert not (tmp_path / "new.key").exists()
    store.cas("acme", version, RECORD)
    assert plain(EncryptedStore(inner, KeyFile(tmp_path / "new.key"))) == RECORD


@pytest.mark.parametrize("kind", ["empty", "a link to nothing", "not set"])
def test_where_there_is_no_key_to_encrypt_with_nothing_is_written(tmp_path: Path, kind: str) -> None:
    path, inner = tmp_path / "acme.key", MemoryStore()
    source: KeySource = EnvironmentKey("ONEREFRESH_TEST_NO_SUCH") if kind == "not set" else KeyFile(path)
    if kind == "empty":
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    elif kind == "a link to nothing":
        path.symlink_to(tmp_path / "nothing")
    store = EncryptedStore(inner, source)
    with pytest.raises(StoreUnavailable, match="holds no key") as written:
        store.cas("acme", None, RECORD)
    with pytest.raises(StoreUnavailable, match="holds no key") as spooled:
        store.seal("acme", RECORD)
    for caught in (written, spooled):
        assert_error_is_silent(caught.value)
    assert inner.load("acme") is None


class Rotation(RuleBasedStateMachine):
    """Keys come and go while two programs run: what a key of the file encrypted is read, and nothing else is."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MemoryStore()
        self.keys: list[str] = [OLD]
        self.model: dict[str, str] = {}
        self.made = 0
        self.running = [self.open_store(), self.open_store()]

    def open_store(self) -> EncryptedStore:
        return EncryptedStore(self.inner, FunctionKey(lambda: " ".join(self.keys)))

    @rule(which=st.integers(0, 1))
    def start_anew(self, which: int) -> None:
        self.running[which] = self.open_store()

    @rule(at=st.integers(0, 9))
    def add_a_key(self, at: int) -> None:
        self.made += 1
        self.keys.insert(at, base64.b64encode(self.made.to_bytes(32, "big")).decode())

    @precondition(lambda self: len(self.keys) > 1)
    @rule(at=st.integers(0, 9))
    def remove_a_key(self, at: int) -> None:
        self.keys.pop(at % len(self.keys))

    @rule(which=st.integers(0, 1), key=st.sampled_from("ab"), body=st.text(max_size=20))
    def write(self, which: int, key: str, body: str) -> None:
        store, before = self.running[which], self.inner.load(key)
        try:
            found = store.load(key)
        except StoreUnavailable:
            assert self.inner.load(key) == before
            return
        store.cas(key, found.version if found else None, body)
        self.model[key] = body

    @invariant()
    def what_a_present_key_encrypted_is_read_by_all(self) -> None:
        present = {key_id_of(key) for key in self.keys}
        for key, body in self.model.items():
            for store in (*self.running, self.open_store()):
                if key_id(self.inner, key) in present:
                    assert plain(store, key) == body
                else:
                    try:
                        assert plain(store, key) == body  # a program that has run since before has the key
                    except StoreUnavailable as error:
                        assert "another key" in error.message  # noqa: PT017 - either is right


TestRotation = Rotation.TestCase
TestRotation.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


# --- Making one ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("memory",), r"an EncryptedStore needs a key: EncryptedStore\(store, KeyFile\(PATH\)\)"),
        (("memory", OLD), "not from str"),
        (("nothing://", holding(OLD)), "unknown store 'nothing'"),
    ],
)
def test_arguments_that_cannot_work_are_refused_at_once(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        EncryptedStore(*arguments)
    assert OLD not in str(caught.value)


WITHOUT = """
import sys
sys.modules[{missing!r}] = None
from onerefresh import ConfigurationError
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import EnvironmentKey, KeyringKey
assert not {{"cryptography", "keyring"}} & {{name for name, module in sys.modules.items() if module}}
try:
    EncryptedStore("memory", {source})
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "source", "extras"),
    [("cryptography", 'EnvironmentKey("K")', "crypto"), ("keyring", "KeyringKey()", "crypto,keyring")],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(missing: str, source: str, extras: str) -> None:
    code = WITHOUT.format(missing=missing, source=source)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stderr) == (0, "")
    assert re.search(f"not installed \\({missing}.*\\): run pip install 'onerefresh\\[{extras}\\]'", child.stdout)
