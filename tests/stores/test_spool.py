"""The spool: a new token on this host's disk while its store is down."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from onerefresh import Credential, StoreUnavailable, Token, events
from onerefresh.record import Grant
from onerefresh.renewal.world import Spooled
from onerefresh.spool import Spool
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore

FIRST = {"access_token": "test-access-1", "refresh_token": "test-refresh-1"}


def entry(attempt: str = "a1", generation: int = 1, family: str = "f") -> Spooled:
    token = Token("test-access-2", "test-refresh-2", expires_at=2e9, issued_at=1e9, scope="read", extra={"tenant": "t"})
    return Spooled(family, generation, attempt, Grant.REFRESH, refused=True, token=token)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(MemoryStore(), "acme", tmp_path / "new" / "spool")


def files(spool: Spool) -> list[Path]:
    assert spool.folder is not None
    return sorted(spool.folder.iterdir())


def test_nothing_is_spooled_at_first_and_nothing_is_made(spool: Spool) -> None:
    assert spool.read() is None
    spool.drop(entry())
    assert spool.folder is not None
    assert not spool.folder.exists()


def test_what_was_written_is_read_until_it_is_dropped(spool: Spool) -> None:
    assert spool.write(entry())
    assert spool.read() == entry()
    assert spool.read() == entry()
    spool.drop(entry())
    assert spool.read() is None
    assert files(spool) == []


def test_the_file_and_its_folders_are_private(spool: Spool) -> None:
    before = os.umask(0)
    try:
        assert spool.write(entry())
    finally:
        os.umask(before)
    [file] = files(spool)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (file, file.parent, file.parent.parent)] == [
        0o600, 0o700, 0o700,
    ]  # fmt: skip
    assert "acme" not in file.name


def test_stores_and_names_are_apart(tmp_path: Path) -> None:
    places = [("one", "acme"), ("two", "acme"), ("one", "other")]
    spools = [Spool(SQLiteStore(tmp_path / place), key, tmp_path / "spool") for place, key in places]
    for number, spool in enumerate(spools):
        assert spool.write(entry(generation=number))
    assert [spool.read() for spool in spools] == [entry(generation=number) for number in range(3)]


def test_one_attempt_s_entry_never_replaces_another_s(spool: Spool) -> None:
    first, second = entry("a1"), entry("b2", generation=2)
    assert spool.write(first)
    assert spool.write(second)
    spool.drop(second)
    assert spool.read() == first
    spool.drop(first)
    assert spool.read() is None


def test_an_entry_that_is_written_again_is_the_newer_one(spool: Spool) -> None:
    assert spool.write(entry())
    changed = replace(entry(), token=Token("test-access-3"))
    assert spool.write(changed)
    assert spool.read() == changed
    assert len(files(spool)) == 1


def test_an_entry_that_cannot_be_deleted_is_not_read_again(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spool.write(entry())
    monkeypatch.setattr(Path, "unlink", refuse)
    spool.drop(entry())
    assert spool.read() is None
    assert len(files(spool)) == 1


def refuse(*arguments: object, **options: object) -> None:
    raise PermissionError(13, "Permission denied")


GARBAGE = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"family": "f"}']


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_an_entry_of_garbage_is_left_where_it_is(spool: Spool, content: bytes) -> None:
    assert spool.write(entry("a1"))
    [file] = files(spool)
    file.write_bytes(content)
    assert spool.read() is None
    assert spool.write(entry("b2"))
    assert spool.read() == entry("b2")
    assert file.read_bytes() == content


def test_an_entry_under_another_s_name_is_not_read(spool: Spool) -> None:
    assert spool.write(entry("a1"))
    [file] = files(spool)
    file.rename(file.with_name(file.name.replace("a1", "b2")))
    assert spool.read() is None


def test_an_entry_that_others_could_read_or_have_made_is_not_read(spool: Spool) -> None:
    assert spool.write(entry())
    [file] = files(spool)
    file.chmod(0o644)
    assert spool.read() is None
    file.chmod(0o600)
    assert spool.read() == entry()
    if os.geteuid() == 0:
        os.chown(file, 12_345, 12_345)
        assert spool.read() is None


def test_a_folder_that_others_can_write_to_is_not_used(spool: Spool) -> None:
    assert spool.folder is not None
    spool.folder.mkdir(parents=True)
    spool.folder.chmod(0o777)
    assert not spool.write(entry())
    assert files(spool) == []


def test_what_cannot_be_written_is_said_and_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", refuse)
    assert not spool.write(entry())
    assert files(spool) == []


def test_files_of_many_credentials_that_cannot_be_used_are_twenty_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        spool = Spool(MemoryStore(), f"customer-{number}", tmp_path)
        assert spool.write(entry())
        [path] = tmp_path.glob(f"{spool._prefix}*")
        path.chmod(0o666)
        assert spool.read() is None
        assert spool.read() is None
    assert len(caplog.messages) == 21
    assert caplog.messages[20].startswith(f'further lines "the spool cannot be used" about {tmp_path} are left out')


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    spool = Spool(MemoryStore(), "acme", tmp_path / "spool")
    assert not spool.write(entry())
    assert spool.read() is None


def test_a_user_without_a_home_has_no_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    for name in ("ONEREFRESH_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    spool = Spool(MemoryStore(), "acme")
    assert not spool.write(entry())
    assert spool.read() is None
    spool.drop(entry())


# --- In a renewal ---


class Down(SQLiteStore):
    """A store whose disk fails after the claim."""

    writes = 0

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self.writes += 1
        if self.writes > 2:
            raise StoreUnavailable("the disk is gone")
        return super().cas(key, expected, body)


def refresh(token: Token) -> dict[str, str]:
    return {"access_token": "test-access-2", "refresh_token": "test-refresh-2"}


def test_a_renewal_begins_with_what_was_spooled_and_drops_what_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.db"
    told: list[str] = []
    unsubscribe = events.subscribe(lambda event: told.append(event.kind.value))
    try:
        monkeypatch.setattr("onerefresh.renewal.answer.COMMIT_TRIES_AFTER_SPOOLING", 0)
        with Credential("acme", refresh, token=FIRST, store=Down(path)) as credential:
            assert credential.token(refused=credential.token()).reveal() == "test-access-2"
        family = Token("x", "test-refresh-1").seed_fingerprint()
        spool = Spool(SQLiteStore(path), "acme")
        assert len(files(spool)) == 1
        assert spool.write(entry("00 of an older generation", generation=0, family=family))
        assert spool.write(entry("ff of another family", generation=1, family="another"))
        with Credential("acme", refresh, store=SQLiteStore(path)) as credential:
            token = credential.token()
        assert (token.reveal(), token.generation) == ("test-access-2", 2)
        assert files(spool) == []
        assert told.count("restored") == 1
    finally:
        unsubscribe()


def test_a_spooled_token_that_cannot_be_deleted_is_restored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.db"
    told: list[str] = []
    unsubscribe = events.subscribe(lambda event: told.append(event.kind.value))
    try:
        monkeypatch.setattr("onerefresh.renewal.answer.COMMIT_TRIES_AFTER_SPOOLING", 0)
        with Credential("acme", refresh, token=FIRST, store=Down(path)) as credential:
            credential.token(refused=credential.token())
        monkeypatch.setattr(Path, "unlink", refuse)
        for _ in range(2):
            with Credential("acme", refresh, store=SQLiteStore(path)) as credential:
                assert credential.token().reveal() == "test-access-2"
        assert told.count("restored") == 1
    finally:
        unsubscribe()
