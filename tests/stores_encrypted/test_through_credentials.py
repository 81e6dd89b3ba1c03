"""A credential on an encrypted store: logins, refreshes, the spool, several processes; nothing of it in plain."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.core.calls import PATIENCE, listening, until_renewals_are_over
from tests.core.leaks import (
    ACCESS,
    REFRESH,
    SEED_ACCESS,
    SEED_REFRESH,
    assert_error_is_silent,
    assert_silent,
    formatted_with_locals,
    logged,
    shown,
)

from onerefresh import Credential, StoreUnavailable, Token
from onerefresh.events import Kind
from onerefresh.record import Grant
from onerefresh.record_text import decode
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.store import Store, is_sealed
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import FunctionKey, KeyFile
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore
from onerefresh.testing import RemoteServer

SEED: dict[str, object] = {"access_token": SEED_ACCESS, "refresh_token": SEED_REFRESH, "expires_at": 1_000_000_000}
ANSWER: dict[str, object] = {"access_token": ACCESS, "refresh_token": REFRESH, "expires_in": 3600}
RIGHT, WRONG = (base64.b64encode(bytes(range(start, start + 32))).decode() for start in (0, 50))


def encrypted(store: str | Store, key: str = RIGHT, **others: Any) -> EncryptedStore:
    return EncryptedStore(store, FunctionKey(lambda: key), **others)


class Refresher:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, token: Token) -> dict[str, object]:
        self.calls += 1
        return ANSWER


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- No token in plain ---


def test_no_file_holds_a_token_at_any_time_of_a_credential_s_life(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def refresh(token: Token) -> dict[str, object]:
        seen.extend(everything_below(tmp_path).values())
        return ANSWER

    with logged() as lines:
        acme = Credential("acme", refresh, token=SEED, store=encrypted(f"sqlite:///{tmp_path}/tokens.db"))
        assert acme.token().reveal() == ACCESS
        acme.token(refused=acme.token())
        seen.extend(everything_below(tmp_path).values())
        acme.login(ANSWER)
        seen.extend(everything_below(tmp_path).values())
        acme.close()
    assert (tmp_path / "tokens.db").read_bytes() in seen
    assert b'{"sealed":"A256GCM"' in (tmp_path / "tokens.db").read_bytes()
    assert_silent(*lines, *(content.decode("latin-1") for content in seen))


def test_the_same_search_finds_the_tokens_of_a_store_that_is_not_encrypted(tmp_path: Path) -> None:
    Credential("acme", Refresher(), token=SEED, store=f"sqlite:///{tmp_path}/tokens.db").token()
    assert shown((tmp_path / "tokens.db").read_bytes().decode("latin-1"))


def test_neither_key_nor_token_is_in_any_repr_or_error(tmp_path: Path) -> None:
    key = tmp_path / "acme.key"
    key.write_text(RIGHT)
    key.chmod(0o600)
    store = EncryptedStore(MemoryStore(), KeyFile(key))
    acme = Credential("acme", Refresher(), token=SEED, store=store)
    acme.token()
    texts = [repr(acme), repr(store), repr(vars(store)), repr(store._known), str(store._known)]
    key.write_text(WRONG[:-4])
    store = EncryptedStore(store._store, KeyFile(key))
    with pytest.raises(StoreUnavailable, match="that is not a key") as caught:
        Credential("acme", Refresher(), store=store).token()
    texts += [formatted_with_locals(caught.value), str(caught.value)]
    for text in texts:
        for secret in (RIGHT, WRONG):
            assert secret[:7] not in text
            assert base64.b64decode(secret).hex()[:14] not in text
            assert repr(base64.b64decode(secret))[2:16] not in text
    assert_silent(*texts)


# --- The wrong key ---


def log_in(acme: Credential) -> object:
    return acme.login(ANSWER)


COMMANDS: dict[str, Callable[[Credential], object]] = {
    "token": lambda acme: acme.token(),
    "atoken": lambda acme: asyncio.run(acme.atoken()),
    "login": log_in,
    "logout": lambda acme: acme.logout(),
    "status": lambda acme: acme.status(),
}
STORES: dict[str, Callable[[Store], Store]] = {
    "another key": lambda inner: encrypted(inner, WRONG),
    "no key": lambda inner: inner,
    "another key and adopt_plain": lambda inner: encrypted(inner, WRONG, adopt_plain=True),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("opened", STORES)
@pytest.mark.parametrize("seed", [None, SEED])
def test_without_the_right_key_nothing_is_sent_read_or_overwritten(
    tmp_path: Path, command: str, opened: str, seed: dict[str, object] | None
) -> None:
    inner = SQLiteStore(tmp_path / "tokens.db")
    Credential("acme", Refresher(), token=SEED, store=encrypted(inner)).token()
    before, refresher = inner.load("acme"), Refresher()
    acme = Credential("acme", refresher, token=seed, store=STORES[opened](inner))
    with pytest.raises(StoreUnavailable, match=r"another key|it is encrypted: open its store as an Enc") as caught:
        COMMANDS[command](acme)
    assert "nothing was changed" in str(caught.value)
    assert_error_is_silent(caught.value)
    assert refresher.calls == 0
    assert inner.load("acme") == before
    healed = Credential("acme", refresher, store=encrypted(inner))
    assert healed.token().reveal() == ACCESS


def test_a_record_that_was_written_before_encryption_goes_on_where_that_was_said(tmp_path: Path) -> None:
    inner = SQLiteStore(tmp_path / "tokens.db")
    Credential("acme", Refresher(), token={**SEED, "expires_at": 9_999_999_999}, store=inner).token()
    refresher = Refresher()
    with pytest.raises(StoreUnavailable, match="adopt_plain=True"):
        Credential("acme", refresher, store=encrypted(inner)).token()
    acme = Credential("acme", refresher, store=encrypted(inner, adopt_plain=True))
    seed = acme.token()
    assert seed.reveal() == SEED_ACCESS
    assert acme.token(refused=seed).generation == 2
    assert refresher.calls == 1
    assert Credential("acme", refresher, store=encrypted(inner)).token().generation == 2
    assert_silent((tmp_path / "tokens.db").read_bytes().decode("latin-1"))


def test_keys_are_rotated_under_a_running_credential(tmp_path: Path) -> None:
    file, inner, refresher = tmp_path / "acme.key", SQLiteStore(tmp_path / "tokens.db"), Refresher()
    running = Credential("acme", refresher, token=SEED, store=EncryptedStore(inner, KeyFile(file)))
    first = running.token()
    old = file.read_text()
    file.write_text(f"{WRONG}\n{old}")
    deployed = Credential("acme", refresher, store=EncryptedStore(inner, KeyFile(file)))
    deployed.login({**ANSWER, "refresh_token": "test-refresh-second"})
    assert running.token(refused=first).generation == 3
    running.login({**ANSWER, "refresh_token": "test-refresh-third"})
    file.write_text(WRONG)
    assert Credential("acme", refresher, store=EncryptedStore(inner, KeyFile(file))).token().generation == 4
    assert refresher.calls == 1


# --- The spool ---


class Faltering(SQLiteStore):
    """Cannot be written while `down` is set; `tried` says that somebody tried."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.down, self.tried = False, threading.Event()

    def cas(self, key: str, expected: str | None, body: str) -> str:
        if self.down:
            self.tried.set()
            raise StoreUnavailable("down")
        return super().cas(key, expected, body)


def spool_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state" / "spool").glob("*"))


def test_the_spool_of_an_encrypted_store_is_encrypted(tmp_path: Path) -> None:
    inner = Faltering(tmp_path / "tokens.db")

    def refresh(token: Token) -> dict[str, object]:
        inner.down = True
        return ANSWER

    with listening() as heard:
        acme = Credential("acme", refresh, token=SEED, store=encrypted(inner))
        assert acme.token().reveal() == ACCESS
        [file] = spool_files(tmp_path)
        text = file.read_text()
        assert is_sealed(text)
        assert json.loads(text)["generation"] == 1
        assert_silent(text)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        inner.down = False
        until_renewals_are_over()
    assert [event.kind for event in heard if event.kind in (Kind.SPOOLED, Kind.REFRESHED)] == [
        Kind.SPOOLED,
        Kind.REFRESHED,
    ]
    assert spool_files(tmp_path) == []
    found = encrypted(inner).load("acme")
    assert found is not None
    assert decode(found.body, "acme").generation == 2


def entry_for(store: Store) -> Spooled:
    found = store.load("acme")
    assert found is not None
    record = decode(found.body, "acme")
    return Spooled(
        record.family, record.generation, "attempt", Grant.REFRESH, refused=False, token=Token(ACCESS, REFRESH)
    )


def test_what_another_process_has_spooled_is_decrypted_and_restored(tmp_path: Path) -> None:
    inner, refresher = SQLiteStore(tmp_path / "tokens.db"), Refresher()
    store = encrypted(inner)
    Credential("acme", refresher, token={**SEED, "expires_at": 9_999_999_999}, store=store).token()
    assert Spool(store, "acme").write(entry_for(store))
    restored = Credential("acme", refresher, store=encrypted(inner)).token()
    assert (restored.generation, restored.reveal()) == (2, ACCESS)
    assert refresher.calls == 0
    assert spool_files(tmp_path) == []


def test_a_spooled_token_whose_key_is_not_there_is_kept_and_nothing_is_sent(tmp_path: Path) -> None:
    inner, refresher = SQLiteStore(tmp_path / "tokens.db"), Refresher()
    Credential("acme", refresher, token={**SEED, "expires_at": 9_999_999_999}, store=encrypted(inner)).token()
    entry, both = entry_for(encrypted(inner)), FunctionKey(lambda: f"{WRONG} {RIGHT}")
    assert Spool(EncryptedStore(inner, both), "acme").write(entry)
    [file] = spool_files(tmp_path)
    before = inner.load("acme"), file.read_bytes()
    with pytest.raises(StoreUnavailable, match="the spooled token was encrypted with another key") as caught:
        Credential("acme", refresher, store=encrypted(inner)).token()
    assert str(file) in str(caught.value)
    assert_error_is_silent(caught.value)
    assert refresher.calls == 0
    assert (inner.load("acme"), file.read_bytes()) == before
    assert Credential("acme", refresher, store=EncryptedStore(inner, both)).token().generation == 2


def test_a_spool_that_cannot_be_encrypted_is_not_written(tmp_path: Path) -> None:
    inner = SQLiteStore(tmp_path / "tokens.db")
    Credential("acme", Refresher(), token={**SEED, "expires_at": 9_999_999_999}, store=encrypted(inner)).token()
    keyless = EncryptedStore(inner, FunctionKey(lambda: ""))
    assert not Spool(keyless, "acme").write(entry_for(encrypted(inner)))
    assert spool_files(tmp_path) == []


# --- Processes ---

WORKER = """
import sys, json, urllib.parse, urllib.request
from concurrent.futures import ThreadPoolExecutor
from onerefresh import Credential
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import KeyFile

database, key, url, seed = json.loads(sys.stdin.readline())

def refresh(token):
    body = json.dumps({"refresh_token": token.reveal_refresh_token()}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)

acme = Credential("acme", refresh, token=seed, store=EncryptedStore(f"sqlite:///{database}", KeyFile(key)))
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(10) as pool:
    tokens = list(pool.map(lambda _: acme.token(), range(10)))
print(sorted({token.generation for token in tokens}), flush=True)
"""


@pytest.mark.slow
def test_processes_that_start_together_share_one_key_one_record_and_one_refresh(tmp_path: Path) -> None:
    with RemoteServer.start(mode="revoke_family") as server:
        seed = {**server.issue(), "expires_at": 1_000_000_000}
        del seed["expires_in"]
        processes = [
            subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdin is not None
            order = [str(tmp_path / "tokens.db"), str(tmp_path / "acme.key"), server.json_refresh_url, seed]
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        told = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            told.append(process.communicate(timeout=PATIENCE)[0])
        assert told == ["[2]\n"] * 4
        assert server.counters.token_requests == 1
    content = (tmp_path / "tokens.db").read_bytes()
    assert b"test-access-" not in content
    assert b"test-refresh-" not in content
    assert b"A256GCM" in content
