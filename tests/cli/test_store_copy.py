"""`onerefresh store copy` and `onerefresh purge`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.core.leaks import SEED_ACCESS, shown

from onerefresh.cli import main
from onerefresh.stores import open_store

from .conftest import Home


def moved(home: Home, *more: str) -> tuple[int, str]:
    done = home.call("store", "copy", "sqlite", "sqlite:///new.db", *more)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_credential_is_moved_and_whoever_has_the_old_file_is_told_where(home: Home) -> None:
    answer = home.log_in()
    place = f"sqlite:///{home.folder}/new.db"
    code, said = moved(home, "--verify")
    assert code == 0
    assert "onerefresh: acme: moved\n" in said
    assert said.endswith(f"to {place}; compared, all is well\n")
    assert "1 of 1 credentials moved" in said
    assert not any(str(answer[name]) in said for name in ("access_token", "refresh_token"))
    done = home.call("token", "acme")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"it was moved to {place}, where its session goes on: name that store" in done.stderr
    status = home.call("status", "acme")
    assert status.returncode == 0
    assert f"moved to {place}: name that store in the file" in status.stdout
    assert json.loads(home.call("status", "acme", "--json").stdout)["moved_to"] == place
    home.configure('store = "sqlite:///new.db"')
    assert home.call("token", "acme").stdout == f"{answer['access_token']}\n"


def test_a_second_copy_says_that_there_is_nothing_left_to_do(home: Home) -> None:
    home.log_in()
    moved(home)
    code, said = moved(home)
    assert (code, "1 had been moved before" in said) == (0, True)


def test_a_file_that_names_both_moves_with_the_first_use(home: Home) -> None:
    answer = home.log_in()
    home.configure('store = "sqlite:///new.db"', 'moved_from = "sqlite"')
    assert home.call("token", "acme").stdout == f"{answer['access_token']}\n"
    assert open_store(f"sqlite:///{home.folder}/new.db").load("acme") is not None


def test_what_cannot_be_moved_is_named_and_the_exit_code_says_so(home: Home) -> None:
    home.log_in()
    open_store("sqlite").cas("broken", None, "no record")
    code, said = moved(home, "--verify")
    assert code == 1
    assert "credential 'broken': the stored record cannot be read" in said
    assert "1 not moved: run it again" in said


@pytest.mark.parametrize("url", [f"redis://me:{SEED_ACCESS}@h/0", f"postgresql://h/d?password={SEED_ACCESS}"])
def test_a_password_among_the_arguments_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((url, "sqlite"), ("sqlite", url)):
        assert main(["--debug", "store", "copy", *words]) == 2
    said = capsys.readouterr()
    assert "env:NAME" in said.err
    assert not shown(said.out + said.err)


def test_a_url_may_come_from_a_variable_and_a_store_from_a_function(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = home.log_in()
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "their_stores.py").write_text(
        "from onerefresh.stores.encrypted import EncryptedStore\nfrom onerefresh.stores.keys import KeyFile\n"
        f"def new(): return EncryptedStore('sqlite:///{tmp_path}/new.db', KeyFile('{tmp_path}/k/key'))\n"
        "def none(): return 7\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("OLD_STORE", "sqlite")
    done = home.call("store", "copy", "env:OLD_STORE", "their_stores:new", "--verify")
    assert done.returncode == 0, done.stderr
    found = sys.modules["their_stores"].new().load("acme")
    assert str(answer["access_token"]) in found.body
    for words, said in (
        (("env:NO_STORE", "sqlite"), "the variable NO_STORE is not set"),
        (("their_stores:none", "sqlite"), "must return a Store, not int"),
        (("memory", "sqlite"), "ends with its program"),
        (("sqlite", "sqlite"), "cannot be copied to itself"),
    ):
        done = home.call("store", "copy", *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_after_a_logout_nothing_is_left_of_a_purged_credential(home: Home) -> None:
    home.log_in()
    done = home.call("purge", "acme")
    assert (done.returncode, "onerefresh logout" in done.stderr) == (2, True)
    home.call("logout", "acme")
    done = home.call("purge", "acme")
    assert (done.returncode, done.stderr) == (0, "onerefresh: acme: nothing of it is left in the store\n")
    assert list(open_store("sqlite").scan()) == []
