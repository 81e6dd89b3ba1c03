"""Where folders are not this user's alone, by intent: each works at once, or with the very setting that is told."""

from __future__ import annotations

import grp
import logging
import os
import pwd
import re
import shlex
from pathlib import Path

import pytest
from tests.strangers.conftest import file_of, folder_of
from tests.strangers.people import ADA, EVE, SHARED, People

from onerefresh import ConfigurationError, StoreUnavailable, safe_folders
from onerefresh.private_files import state_folder
from onerefresh.stores import open_store
from onerefresh.stores.sqlite import SQLiteStore

VARIABLE = "ONEREFRESH_TRUSTED_FOLDERS"
SECTION = '[credentials.acme]\ntoken_endpoint = "https://login.acme.com/token"\nclient_id = "cli"\n'


def told(said: str) -> dict[str, str]:
    """The setting that an error names, as a shell reads it."""
    found = re.search(rf"set ({VARIABLE}=.*)$", said)
    assert found, said
    [word] = shlex.split(found[1])
    return dict([word.split("=", 1)])


def works(people: People, uid: int, path: Path, **setting: object) -> dict[str, str]:
    """Refused at first, with a setting that makes it work; the setting."""
    said = people.do(uid, "log_in", f"sqlite:///{path}", **setting)
    assert said.startswith("StoreUnavailable: ")
    trusted = told(said)
    assert people.do(uid, "log_in", f"sqlite:///{path}", **{**setting, "env": trusted}) == "done"
    assert people.do(uid, "refreshed", f"sqlite:///{path}", **{**setting, "env": trusted}) == "test-access-2"
    return trusted


def test_a_container_s_root_on_a_bind_mount_of_another_uid(people: People, land: Path) -> None:
    data = folder_of(land / "data", 1_000, 0o755)
    works(people, 0, data / "tokens.db")
    url = f"sqlite:///{data}/more.db?trusted_folders={os.environ.get(VARIABLE, '')}:{data}"
    assert people.do(0, "log_in", url) == "done"
    assert people.do(0, "refreshed", url) == "test-access-2"
    assert people.do(0, "log_in", f"sqlite:///{data}/more.db").startswith("StoreUnavailable")


def test_a_kubernetes_volume_with_fsgroup_also_after_it_was_mounted_again(people: People, land: Path) -> None:
    data = folder_of(land / "data", 0, 0o2775, SHARED)
    path = data / "app" / "tokens.db"
    trusted = works(people, ADA, path, groups=[SHARED])
    assert trusted[VARIABLE].endswith(str(data))
    for place in data.rglob("*"):  # what a new pod's mount does: all is the group's, to read and write
        os.chown(place, -1, SHARED)
        place.chmod(0o2770 if place.is_dir() else 0o660)
    uses = people.do(ADA, "use", f"sqlite:///{path}", groups=[SHARED], env=trusted)
    assert set(uses.values()) == {"done"}
    assert people.do(ADA, "token", f"sqlite:///{path}", groups=[SHARED], env=trusted) == "test-access-2"


def test_an_empty_dir_of_kubernetes(people: People, land: Path) -> None:
    data = folder_of(land / "data", 0, 0o777)
    trusted = works(people, ADA, data / "tokens.db")
    works(people, ADA, data / "own" / "tokens.db")
    file_of(data / "tokens.db-journal", EVE, 0o666)
    said = people.do(ADA, "token", f"sqlite:///{data}/tokens.db", env=trusted)
    assert f"tokens.db-journal belongs to another user (uid {EVE})" in said


def test_all_folders_that_have_to_be_trusted_are_told_at_once(people: People, land: Path) -> None:
    folder_of(land / "one", 1_000, 0o755)
    folder_of(land / "one" / "two", 1_001, 0o777)
    folder_of(land / "one" / "two" / "three", ADA, 0o702)
    trusted = works(people, ADA, land / "one" / "two" / "three" / "tokens.db")
    assert trusted[VARIABLE].endswith(f"{land}/one:{land}/one/two:{land}/one/two/three")


def test_a_folder_with_a_space_is_told_as_a_shell_takes_it(people: People, land: Path) -> None:
    works(people, ADA, folder_of(land / "my data", 1_000, 0o777) / "tokens.db")


def test_a_user_namespace_that_knows_one_user(people: People, land: Path) -> None:
    if people.do(ADA, "owner_of", "/", namespace=True) != 65_534:
        pytest.skip("NOT TESTED: user namespaces; this system allows none")
    trusted = works(people, ADA, land / "ada" / "tokens.db", namespace=True)
    assert trusted[VARIABLE].split(":")[:1] == ["/"]
    config = file_of(folder_of(land / "config", EVE, 0o755) / "onerefresh.toml", EVE, 0o644, SECTION)
    trust = told(people.do(ADA, "configured", config, namespace=True))
    trust[VARIABLE] += f":{land}/config"
    assert people.do(ADA, "configured", config, namespace=True, env=trust) == ["acme"]
    folder_of(land / "tmp" / "of-eve", EVE, 0o755)
    folder = folder_of(land / "tmp" / "of-eve" / "ada", ADA)
    trusted[VARIABLE] += f":{land}/tmp"
    said = people.do(ADA, "log_in", f"sqlite:///{folder}/tokens.db", namespace=True, env=trusted)
    assert f"{land}/tmp/of-eve belongs to another user (uid 65534, which may be any user" in said


def test_a_temporary_folder_of_macos(people: People, land: Path) -> None:
    (land / "var").symlink_to("private/var")
    for place in ("private", "private/var", "private/var/folders", "private/var/folders/zz"):
        (land / place).mkdir(mode=0o755)
    folder_of(land / "var" / "folders" / "zz" / "abc", ADA, 0o755)
    folder_of(land / "var" / "folders" / "zz" / "abc" / "T", ADA)
    url = f"sqlite:///{land}/var/folders/zz/abc/T/tokens.db"
    assert people.do(ADA, "log_in", url) == "done"
    assert people.do(ADA, "refreshed", url) == "test-access-2"


def test_a_home_in_which_nothing_is_yet(people: People, land: Path) -> None:
    home = {"HOME": str(land / "ada"), "XDG_STATE_HOME": "", "ONEREFRESH_STATE": ""}
    assert people.do(ADA, "log_in", "sqlite", env=home) == "done"
    assert people.do(ADA, "refreshed", "sqlite", env=home, umask=0) == "test-access-2"
    assert (land / "ada" / ".local" / "state" / "onerefresh" / "credentials.db").exists()


# --- Configuration and secrets ---


def kubernetes_mount(folder: Path, mode: int, gid: int = 0, **files: str) -> Path:
    """A volume of a ConfigMap or a Secret, as the kubelet writes it."""
    folder_of(folder, 0, 0o1777 if not gid else 0o3777, gid)
    folder_of(folder / "..2026_11_29", 0, 0o755, gid)
    (folder / "..data").symlink_to("..2026_11_29")
    for name, content in files.items():
        file_of(folder / "..2026_11_29" / name, 0, mode, content, gid)
        (folder / name).symlink_to(f"..data/{name}")
    return folder


@pytest.mark.parametrize(("mode", "gid"), [(0o644, 0), (0o444, 0), (0o440, SHARED)])
def test_mounts_of_kubernetes_serve_configuration_and_secrets(people: People, land: Path, mode: int, gid: int) -> None:
    secrets = kubernetes_mount(land / "secrets", mode, gid, acme="hunter2\n")
    section = f'{SECTION}client_secret = {{ file = "{secrets}/acme" }}\n'
    config = kubernetes_mount(land / "config", mode, gid, onerefresh=section) / "onerefresh"
    assert people.do(ADA, "secret", config, groups=[gid]) == "hunter2"


def test_a_secret_of_docker_and_one_in_a_bind_mount(people: People, land: Path) -> None:
    folder_of(land / "run", 0, 0o755)
    secret = file_of(land / "run" / "acme", 0, 0o444, "hunter2")
    config = file_of(land / "onerefresh.toml", 0, 0o644, f'{SECTION}client_secret = {{ file = "{secret}" }}\n')
    assert people.do(ADA, "secret", config) == "hunter2"
    os.chown(secret, 1_000, 1_000)
    assert "belongs to another user (uid 1000)" in people.do(ADA, "secret", config)
    os.chown(land / "run", 1_000, 1_000)
    trusted = told(people.do(ADA, "secret", config))
    assert people.do(ADA, "secret", config, env=trusted) == "hunter2"


# --- The setting ---


def test_what_is_trusted_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    safe_folders._logged.clear()
    caplog.set_level(logging.INFO, "onerefresh")
    for number in range(3):
        store = SQLiteStore(tmp_path / f"{number}.db", trusted_folders=str(tmp_path / "shared"))
        store.load("acme")
        store.cas("acme", None, "body")
    said = [record.getMessage() for record in caplog.records if "trusted" in record.getMessage()]
    assert [line for line in said if "shared" in line] == [
        f"as configured, all users who own the folder {tmp_path}/shared or can write to it are trusted"
    ]


@pytest.mark.parametrize("wrong", ["data", "/data:tmp", "~/data"])
def test_a_relative_folder_is_refused_where_the_store_is_opened(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(VARIABLE, wrong)
    for url in ("sqlite", "postgresql://app@db/app"):
        with pytest.raises(ConfigurationError, match=f"{VARIABLE}: .* is a relative path: write absolute paths"):
            open_store(url)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(ConfigurationError, match=r"trusted_folders: .* is a relative path"):
        open_store(f"sqlite:///tokens.db?trusted_folders={wrong}")


@pytest.mark.parametrize(
    "wrong", ["?trusted=/data", "?trusted_folders=", "?trusted_folders=/data#x", "?trusted_folders=/a&b=c", "?"]
)
def test_another_parameter_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="a sqlite URL takes one parameter"):
        open_store(f"sqlite:////data/tokens.db{wrong}")


def test_a_folder_in_a_url_may_be_escaped(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b").chmod(0o777)
    url = f"sqlite:///{tmp_path}/a b/tokens.db"
    with pytest.raises(StoreUnavailable, match="others can write"):
        open_store(url).load("acme")
    where = os.environ.get(VARIABLE, "")
    assert open_store(f"{url}?trusted_folders={where}:{tmp_path}/a%20b").load("acme") is None


@pytest.mark.parametrize(
    "variables", [{"ONEREFRESH_STATE": "state"}, {"HOME": "."}, {"HOME": "home"}, {"ONEREFRESH_STATE": "."}]
)
def test_the_state_folder_does_not_depend_on_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name in ("ONEREFRESH_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="ONEREFRESH_STATE"):
        state_folder()


def test_a_group_that_is_the_first_one_of_another_account_is_not_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has it as his first group is not among its members, and can write to the folder all the same."""
    mine = pwd.getpwuid(os.geteuid())
    alone = grp.struct_group((mine.pw_name, "x", mine.pw_gid, []))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: alone)
    monkeypatch.setattr(pwd, "getpwall", lambda: [mine])
    assert safe_folders._is_private_group(mine.pw_gid)
    other = pwd.struct_passwd(("other", "x", mine.pw_uid + 1, mine.pw_gid, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwall", lambda: [mine, other])
    assert not safe_folders._is_private_group(mine.pw_gid)
