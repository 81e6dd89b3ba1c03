"""Another user of the machine puts something beside a private file, or on the way to it."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.strangers import deeds
from tests.strangers.conftest import file_of, folder_of
from tests.strangers.people import ADA, EVE, SHARED, People

from onerefresh import StoreUnavailable
from onerefresh.stores import open_store


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def refused(said: dict[str, str], *words: str) -> None:
    """Each use of a store was refused with these words."""
    for word in words:
        assert all(word in text for text in said.values()), said
    assert all(text.startswith("StoreUnavailable: ") for text in said.values()), said


def test_a_journal_that_others_can_read_catches_no_refresh_token(people: People, land: Path) -> None:
    path = land / "tmp" / "tokens.db"
    people.do(ADA, "log_in", url(path))
    people.do(EVE, "plant_journal", path)
    said = people.do(ADA, "refreshed", url(path))
    assert "test-refresh" not in people.do(EVE, "stolen", path)
    mine = f"{land}/tmp/onerefresh-{ADA}"
    assert f"StoreUnavailable: others can put their own files next to tokens.db in the folder {land}/tmp" in said
    assert f"run mkdir -m 700 {mine}, and use {mine}/tokens.db" in said


@pytest.mark.parametrize("owner", [0, ADA, EVE])
def test_a_journal_of_another_is_not_played_back(people: People, land: Path, owner: int) -> None:
    folder = folder_of(land / "shared", owner, 0o1777)
    path = folder / "tokens.db"
    people.do(ADA, "log_in", url(path))
    folder_of(land / "eve", EVE)
    if not path.exists():  # it is refused: let it be there from before
        path.touch()
        os.chown(path, ADA, ADA)
        path.chmod(0o600)
    assert people.do(EVE, "plant_hot_journal", path, land / "eve") == "done"
    for deed in ("token", "refreshed", "token"):
        assert people.do(ADA, deed, url(path)).startswith("StoreUnavailable: ")
    assert b"eve" not in path.read_bytes()


def test_the_folder_that_the_error_tells_to_make_is_safe(people: People, land: Path) -> None:
    mine = land / "tmp" / f"onerefresh-{ADA}"
    people.do(ADA, "make_folder", mine, 0o700)
    assert people.do(ADA, "log_in", url(mine / "tokens.db")) == "done"
    assert people.do(ADA, "refreshed", url(mine / "tokens.db")) == "test-access-2"
    said = people.do(EVE, "plant_journal", mine / "tokens.db")
    assert "PermissionError" in said


def test_a_folder_that_another_has_made_first_is_not_used(people: People, land: Path) -> None:
    mine = land / "tmp" / f"onerefresh-{ADA}"
    people.do(EVE, "make_folder", mine, 0o777)
    refused(
        people.do(ADA, "use", url(mine / "tokens.db")),
        f"the folder {mine} belongs to another user (uid {EVE})",
        f"set ONEREFRESH_TRUSTED_FOLDERS={os.environ.get('ONEREFRESH_TRUSTED_FOLDERS', '')}".rstrip("="),
        f"{mine}",
    )


def test_locks_that_another_has_made_first_are_not_used(people: People, land: Path) -> None:
    path = land / "tmp" / "tokens.db"
    people.do(EVE, "take_the_locks", path)
    refused(people.do(ADA, "use", url(path)), f"{land}/tmp")
    inside = land / "ada" / "tokens.db"
    people.do(ADA, "log_in", url(inside))
    folder_of(land / "moved", EVE, 0o777).rename(land / "ada" / "of-eve.db.locks")
    said = people.do(ADA, "use", url(land / "ada" / "of-eve.db"))
    assert f"of-eve.db.locks belongs to another user (uid {EVE})" in said["hold"]


def test_a_folder_of_another_on_the_way_is_not_trusted(people: People, land: Path) -> None:
    folder_of(land / "eve", EVE, 0o755)
    folder = folder_of(land / "eve" / "ada", ADA)
    refused(
        people.do(ADA, "use", url(folder / "tokens.db")),
        f"the folder {land}/eve belongs to another user (uid {EVE}), who could replace what is in it",
    )


@pytest.mark.parametrize(("owner", "gid", "mode"), [(ADA, SHARED, 0o775), (ADA, SHARED, 0o777), (0, SHARED, 0o775)])
def test_a_folder_that_others_can_write_to_on_the_way_is_not_trusted(
    people: People, land: Path, owner: int, gid: int, mode: int
) -> None:
    folder_of(land / "way", owner, mode, gid)
    folder = folder_of(land / "way" / "ada", ADA)
    as_root = " as root" if owner == 0 else ""
    refused(people.do(ADA, "use", url(folder / "tokens.db")), f"run chmod go-w {land}/way{as_root}; or,")


def test_a_folder_of_root_s_that_is_ada_s_to_read_is_safe_and_one_of_another_s_is_not_for_root(
    people: People, land: Path
) -> None:
    path = land / "ada" / "tokens.db"
    assert people.do(ADA, "log_in", url(path)) == "done"
    refused(people.do(0, "use", url(path)), f"the folder {land}/ada belongs to another user (uid {ADA})")


# --- Links ---


def test_a_link_of_another_s_is_not_followed(people: People, land: Path) -> None:
    assert people.do(ADA, "log_in", url(land / "ada" / "tokens.db")) == "done"
    people.do(EVE, "link", land / "tmp" / "folder", land / "ada")
    people.do(EVE, "link", land / "tmp" / "file.db", land / "ada" / "tokens.db")
    for path in (land / "tmp" / "folder" / "tokens.db", land / "tmp" / "file.db"):
        refused(people.do(ADA, "use", url(path)), f"is a link that another user made (uid {EVE})")


def test_a_link_of_ones_own_is_followed(people: People, land: Path) -> None:
    people.do(ADA, "link", land / "tmp" / "folder", land / "ada")
    people.do(ADA, "link", land / "tmp" / "file.db", land / "ada" / "tokens.db")
    assert people.do(ADA, "log_in", url(land / "tmp" / "folder" / "tokens.db")) == "done"
    assert people.do(ADA, "token", url(land / "tmp" / "file.db")) == "test-access-1"


def test_the_folder_of_a_link_is_looked_at_too(people: People, land: Path) -> None:
    folder_of(land / "way", ADA, 0o777)
    people.do(ADA, "link", land / "way" / "folder", land / "ada")
    refused(people.do(ADA, "use", url(land / "way" / "folder" / "tokens.db")), f"run chmod go-w {land}/way")


def test_links_that_go_round_in_circles_are_said(people: People, land: Path) -> None:
    people.do(ADA, "link", land / "ada" / "round", land / "ada" / "round")
    refused(people.do(ADA, "use", url(land / "ada" / "round" / "tokens.db")), "links")


# --- Files ---


@pytest.mark.parametrize("ending", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("what", ["of another", "readable", "a link", "a pipe"])
def test_what_sqlite_reads_beside_the_database_is_looked_at_too(
    people: People, land: Path, ending: str, what: str
) -> None:
    path = land / "ada" / "tokens.db"
    people.do(ADA, "log_in", url(path))
    other = path.with_name(f"tokens.db{ending}")
    match what:
        case "of another":
            file_of(other, EVE, 0o600)
        case "readable":
            file_of(other, ADA, 0o644)
        case "a link":
            file_of(land / "target", ADA, 0o600)
            other.symlink_to(land / "target")
        case "a pipe":
            os.mkfifo(other)
    said = people.do(ADA, "use", url(path))
    del said["hold"]
    refused(said, str(other))


def test_a_database_that_became_a_link_is_not_used(people: People, land: Path) -> None:
    path = land / "ada" / "tokens.db"
    people.do(ADA, "log_in", url(path))
    said = people.do(ADA, "swap_for_a_link", path)
    assert said == [f"{path} is a link: remove it, or use the path of the file that it leads to"] * 2


@pytest.mark.parametrize("what", ["of another", "readable", "a pipe"])
def test_a_lock_file_is_looked_at_too(people: People, land: Path, what: str) -> None:
    path = land / "ada" / "tokens.db"
    people.do(ADA, "use", url(path))
    [lock] = (land / "ada" / "tokens.db.locks").iterdir()
    lock.unlink()
    match what:
        case "of another":
            file_of(lock, EVE, 0o666)
        case "readable":
            file_of(lock, ADA, 0o644)
        case "a pipe":
            os.mkfifo(lock)
            os.chown(lock, ADA, ADA)
    assert str(lock) in people.do(ADA, "use", url(path))["hold"]


def test_a_spool_in_a_folder_of_others_is_not_used(people: People, land: Path) -> None:
    assert people.do(ADA, "spool_and_read", land / "ada" / "spool") == [True, "test-access-2"]
    assert people.do(ADA, "spool_and_read", land / "tmp") == [False, None]
    assert people.do(ADA, "spool_and_read", folder_of(land / "eve", EVE, 0o777)) == [False, None]


def test_a_part_of_a_spool_file_that_is_there_already_is_not_written_to(people: People, land: Path) -> None:
    folder = folder_of(land / "data", 0, 0o777)
    target = file_of(land / "ada" / "precious", ADA, 0o600, "precious")
    for name in people.do(ADA, "spool_names", folder):
        people.do(EVE, "link", folder / f"{name}.part", target)
    trusted = {"ONEREFRESH_TRUSTED_FOLDERS": f"{os.environ.get('ONEREFRESH_TRUSTED_FOLDERS', '')}:{folder}"}
    assert people.do(ADA, "spool_and_read", folder, env=trusted) == [True, "test-access-2"]
    assert target.read_text() == "precious"


def test_keys_in_folders_of_others_are_not_used(people: People, land: Path) -> None:
    key = people.do(ADA, "key_of", land / "ada" / "acme.key")
    assert len(key) == 44
    people.do(EVE, "link", land / "tmp" / "acme.key", land / "ada" / "acme.key")
    assert "is a link that another user made" in people.do(ADA, "key_of", land / "tmp" / "acme.key")
    assert "StoreUnavailable: others can put their own files" in people.do(ADA, "key_of", land / "tmp" / "own.key")
    people.do(ADA, "link", land / "ada" / "link.key", land / "ada" / "acme.key")
    assert people.do(ADA, "key_of", land / "ada" / "link.key") == key
    assert f"uid {EVE}" in people.do(ADA, "key_of", folder_of(land / "eve", EVE, 0o755) / "acme.key")


def test_a_lock_for_the_keyring_in_a_folder_of_others_is_not_used(people: People, land: Path) -> None:
    assert people.do(ADA, "keyring_lock", land / "ada" / "state") == "held"
    assert "others can put their own files" in people.do(ADA, "keyring_lock", land / "tmp")


def test_a_spool_that_cannot_be_used_says_why_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    for _ in range(3):
        assert deeds.spool_and_read(str(tmp_path / "state" / "spool")) == [False, None]
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert said[0].startswith(f"the spool cannot be used: others can write to the folder {tmp_path}/state and could")


@pytest.mark.parametrize(("name", "members", "fits"), [("ada", ["ada"], True), ("ada", ["bob"], False)])
def test_a_private_group_may_write_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, members: list[str], *, fits: bool
) -> None:
    (tmp_path / "way" / "ada").mkdir(parents=True)
    (tmp_path / "way").chmod(0o775)
    gid = tmp_path.stat().st_gid
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="ada", pw_gid=gid))
    monkeypatch.setattr(pwd, "getpwall", lambda: [SimpleNamespace(pw_name="ada", pw_gid=gid)])
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=name, gr_mem=members))
    store = open_store(url(tmp_path / "way" / "ada" / "tokens.db"))
    if fits:
        assert store.load("acme") is None
    else:
        with pytest.raises(StoreUnavailable, match=f"run chmod go-w {tmp_path}/way;"):
            store.load("acme")
