"""Stores by their URL."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from tests.core.leaks import locals_of_ours

from onerefresh import ConfigurationError
from onerefresh.private_files import state_folder
from onerefresh.stores import open_store
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.sqlite import SQLiteStore


def path_of(url: str) -> Path:
    store = open_store(url)
    assert isinstance(store, SQLiteStore)
    return store.path


def test_memory_is_the_default_and_new_each_time() -> None:
    stores = [open_store(name) for name in (None, None, "memory", "memory")]
    assert all(isinstance(store, MemoryStore) for store in stores)
    assert len(set(map(id, stores))) == 4


def test_a_store_is_itself() -> None:
    store = MemoryStore()
    assert open_store(store) is store


def test_three_slashes_are_relative_four_absolute_and_a_tilde_is_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert path_of("sqlite:///tokens.db") == tmp_path / "tokens.db"
    assert path_of("sqlite:///a/tokens.db") == tmp_path / "a" / "tokens.db"
    assert path_of(f"sqlite:///{tmp_path}/tokens.db") == tmp_path / "tokens.db"
    assert path_of("sqlite:///~/tokens.db") == tmp_path / "home" / "tokens.db"


def test_a_relative_path_stays_where_it_was_when_the_folder_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///tokens.db")
    monkeypatch.chdir("/")
    store.cas("acme", None, "body")
    assert (tmp_path / "tokens.db").exists()


def test_sqlite_alone_is_in_the_state_folder(tmp_path: Path) -> None:
    assert path_of("sqlite") == tmp_path / "state" / "credentials.db"


def test_one_file_is_one_store_for_as_long_as_somebody_has_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tokens.db"
    store = open_store(url)
    assert open_store(f"sqlite:///{tmp_path}/../{tmp_path.name}/tokens.db") is store
    assert open_store(f"sqlite:///{tmp_path}/other.db") is not store
    number = id(store)
    del store
    gc.collect()
    assert open_store(url).load("acme") is None
    assert number


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite://tokens.db",
        "sqlite:///folder/",
        "sqlite:///tokens.db?mode=ro",
        "sqlite:///tokens.db#part",
        "sqlite:///:memory:",
        "tokens.db",
        "/tmp/tokens.db",
        "mysql://localhost/db",
        "Memory",
        "",
    ],
)
def test_a_url_that_is_wrong_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'sqlite:///|'memory'"):
        open_store(url)


@pytest.mark.parametrize("url", ["redis:/:a-password@host/0", "mysql://:a-password@host/0", ":a-password@host:6379"])
def test_a_url_that_is_not_understood_is_not_quoted_beyond_its_scheme(url: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown store") as caught:
        open_store(url)
    assert "a-password" not in caught.value.message
    assert "a-password" not in "\n".join(locals_of_ours(caught.value))


@pytest.mark.parametrize("thing", [7, Path("tokens.db"), MemoryStore])
def test_what_is_no_store_is_refused(thing: object) -> None:
    with pytest.raises(ConfigurationError, match="a store must be a URL such as"):
        open_store(thing)  # type: ignore[arg-type]  # wrong on purpose


def test_an_asyncio_redis_client_is_refused() -> None:
    client = type("Redis", (), {"__module__": "redis.asyncio.client"})()
    with pytest.raises(ConfigurationError, match=r"blocking redis\.Redis"):
        open_store(client)


# --- The state folder ---


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"ONEREFRESH_STATE": "/a/b"}, "/a/b"),
        ({"ONEREFRESH_STATE": "~/b"}, "/home/ada/b"),
        ({"XDG_STATE_HOME": "/a"}, "/a/onerefresh"),
        ({"XDG_STATE_HOME": "a"}, "/home/ada/.local/state/onerefresh"),
        ({}, "/home/ada/.local/state/onerefresh"),
    ],
)
def test_the_state_folder_is_the_platform_s(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str
) -> None:
    for name in ("ONEREFRESH_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr("sys.platform", "linux")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert state_folder() == Path(folder)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "os.path.expanduser", lambda path: path
    )  # what it does for a user that the system does not know
    for name in ("ONEREFRESH_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="set ONEREFRESH_STATE"):
        state_folder()
    with pytest.raises(ConfigurationError, match="set ONEREFRESH_STATE"):
        open_store("sqlite")
