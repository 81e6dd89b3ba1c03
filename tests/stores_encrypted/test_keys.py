"""Sources of keys: each gives what was put there, makes at most one key, and says what is wrong without showing any."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backends.fail
import keyring.backends.null
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked
from tests.core.leaks import formatted_with_locals
from tests.stores_encrypted.crowd import crowd

from onerefresh import ConfigurationError, OnerefreshError, Secret, StoreUnavailable
from onerefresh.stores import keys
from onerefresh.stores.keys import EnvironmentKey, FunctionKey, KeyFile, KeyringKey, KeySource, keys_in, source_of

MATERIAL = bytes(range(100, 132))
TEXT = base64.b64encode(MATERIAL).decode()
OTHER = base64.b64encode(bytes(range(32))).decode()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ids(source: KeySource) -> list[str]:
    found = source.read()
    return [key.id for key in keys_in(found, source)] if found else []


def assert_shows_no_key(error: BaseException) -> None:
    assert isinstance(error, OnerefreshError)
    shown = str(error) + repr(error) + formatted_with_locals(error)
    for text in (TEXT, MATERIAL.hex(), "not-a-key"):
        assert text[:7] not in shown


# --- What a key is ---

WRITINGS = {
    "base64": TEXT,
    "base64 without its end": TEXT.rstrip("="),
    "base64 for URLs": base64.urlsafe_b64encode(MATERIAL).decode(),
    "hexadecimal": MATERIAL.hex(),
    "large hexadecimal": MATERIAL.hex().upper(),
    "with white space": f"\n  {TEXT}\r\n\n",
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_key_may_be_written_in_any_of_the_usual_ways(writing: str) -> None:
    assert ids(FunctionKey(lambda: WRITINGS[writing])) == ids(FunctionKey(lambda: MATERIAL))


def test_several_keys_keep_their_order() -> None:
    assert ids(FunctionKey(lambda: f"{TEXT}\n{OTHER}\n")) == [
        *ids(FunctionKey(lambda: TEXT)),
        *ids(FunctionKey(lambda: OTHER)),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("not-a-key", "contains an entry"),
        (TEXT[:-4], "contains an entry"),
        (f"{TEXT}AAAA", "contains an entry"),
        (MATERIAL.hex()[:-2], "contains an entry"),
        ("ä" * 32, "contains an entry"),
        ("ä" * 64, "contains an entry"),
        ("z" * 64, "contains an entry"),
        (f"{TEXT} not-a-key", r"an entry \(number 2\)"),
    ],
)
def test_what_is_no_key_is_refused_without_being_quoted(text: str, place: str) -> None:
    source = FunctionKey(lambda: text)
    with pytest.raises(StoreUnavailable, match=f"{place} that is not a key: a key is 32 random bytes") as caught:
        ids(source)
    assert_shows_no_key(caught.value)


# --- The key file ---


def test_a_key_file_is_made_private_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "acme.key"
    source = KeyFile(path)
    assert source.read() is None
    assert not path.parent.exists()
    source.make()
    made = ids(source)
    assert len(made) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(base64.b64decode(path.read_text().strip(), validate=True)) == 32
    source.make()
    assert ids(source) == ids(KeyFile(str(path))) == made
    assert names(path.parent) == ["acme.key"]
    KeyFile(tmp_path / "another.key").make()
    assert ids(KeyFile(tmp_path / "another.key")) != made


def test_a_key_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        KeyFile(tmp_path / "new" / "acme.key").make()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "acme.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.seconds
def test_processes_that_make_a_key_file_at_the_same_time_get_the_same_key(tmp_path: Path) -> None:
    for told in crowd("key_file", tmp_path, rounds=40):
        assert len(set(told)) == 1
    assert len(names(tmp_path)) == 40


def prepare(path: Path, what: str) -> None:
    path.write_text(TEXT)
    path.chmod(0o600)
    match what:
        case "others can read it":
            path.chmod(0o640)
        case "others can write to the folder":
            path.parent.chmod(0o777)
        case "it is a folder":
            path.unlink()
            path.mkdir()
        case "its parent is a file":
            path.rename(path.parent.parent / "moved")
            path.parent.rmdir()
            path.parent.write_text("")


@pytest.mark.parametrize(
    ("what", "fix"),
    [
        ("others can read it", "run chmod 600"),
        ("others can write to the folder", "run chmod go-w"),
        ("it is a folder", "is not a file"),
        ("its parent is a file", "cannot be read: Not a directory"),
    ],
)
def test_a_key_file_that_is_not_private_is_refused(tmp_path: Path, what: str, fix: str) -> None:
    path = tmp_path / "keys" / "acme.key"
    path.parent.mkdir(mode=0o700)
    prepare(path, what)
    with pytest.raises(StoreUnavailable, match=fix) as caught:
        KeyFile(path).read()
    assert_shows_no_key(caught.value)


def test_a_key_file_that_is_a_link_to_one_serves(tmp_path: Path) -> None:
    KeyFile(tmp_path / "acme.key").make()
    (tmp_path / "link").symlink_to(tmp_path / "acme.key")
    assert ids(KeyFile(tmp_path / "link")) == ids(KeyFile(tmp_path / "acme.key"))


def test_a_key_file_is_not_made_where_none_can_be(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="create it yourself with mode 600"):
        KeyFile(tmp_path / ("x" * 250)).make()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(StoreUnavailable, match="run chmod go-w"):
        KeyFile(tmp_path / "open" / "acme.key").make()
    assert names(tmp_path) == ["open"]
    assert names(tmp_path / "open") == []


def test_a_key_file_of_no_user_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="there is no such home folder"):
        KeyFile("~nobody-of-this-name/acme.key")


# --- The environment ---


def test_a_variable_gives_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", f"{TEXT} {OTHER}")
    assert ids(EnvironmentKey("ACME_KEY")) == ids(FunctionKey(lambda: f"{TEXT}\n{OTHER}"))


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_holds_no_key_and_gets_none(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("ACME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("ACME_KEY", value)
    source = EnvironmentKey("ACME_KEY")
    assert source.read() is None
    with pytest.raises(
        StoreUnavailable, match=r"the environment variable ACME_KEY holds no key: set it; `openssl rand"
    ):
        source.make()
    assert os.environ.get("ACME_KEY") == value


# --- A function ---


@pytest.mark.parametrize("given", [TEXT, MATERIAL, bytearray(MATERIAL), Secret(TEXT), MATERIAL.hex()])
def test_a_function_may_return_a_key_in_any_shape(given: object) -> None:
    assert ids(source_of(lambda: given)) == ids(FunctionKey(lambda: TEXT))


@pytest.mark.parametrize(
    ("given", "said"),
    [(7, "returned int"), (MATERIAL[:-1], "returned 31 bytes"), (b"", "returned 0 bytes"), ([TEXT], "returned list")],
)
def test_a_function_that_returns_something_else_is_told_so(given: object, said: str) -> None:
    def my_key() -> object:
        return given

    with pytest.raises(StoreUnavailable, match=f"the function my_key {said}: return keys as a string") as caught:
        source_of(my_key).read()
    assert_shows_no_key(caught.value)


@pytest.mark.parametrize("given", [None, "", Secret("")])
def test_a_function_that_returns_nothing_holds_no_key(given: object) -> None:
    def my_key() -> object:
        return given

    assert source_of(my_key).read() is None
    with pytest.raises(StoreUnavailable, match="the function my_key holds no key"):
        source_of(my_key).make()


def test_what_a_function_raises_is_the_cause() -> None:
    def my_key() -> str:
        raise ConnectionError("the vault is sealed")

    with pytest.raises(StoreUnavailable, match="the function my_key raised ConnectionError; see the cause") as caught:
        source_of(my_key).read()
    assert isinstance(caught.value.__cause__, ConnectionError)

    def ours() -> str:
        raise StoreUnavailable("the vault is sealed: unseal it")

    with pytest.raises(StoreUnavailable, match=r"^the vault is sealed: unseal it$"):
        source_of(ours).read()


async def async_key() -> str:
    return TEXT


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (TEXT, "not from str"),
        (MATERIAL, "not from bytes"),
        (None, "not from NoneType"),
        (KeyringKey, "not from KeyringKey"),
        (async_key, "cannot be async"),
    ],
)
def test_what_is_no_source_is_refused_at_once_without_being_quoted(given: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        source_of(given)
    assert TEXT[:7] not in str(caught.value)


# --- The keyring ---


class InMemory(KeyringBackend):
    """A keyring like the real ones, as far as this library asks it."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the package has no type for it
        self.kept: dict[tuple[str, str], str] = {}
        self.writes = 0

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.writes += 1
        self.kept[service, username] = password


class Locked(InMemory):
    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("Failed to unlock the collection!")


class Breaking(InMemory):
    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"could not keep {password}")


NONE: Any = keyring.backends.fail.Keyring
FORGETFUL: Any = keyring.backends.null.Keyring


class Garbling(InMemory):
    def set_password(self, service: str, username: str, password: str) -> None:
        super().set_password(service, username, OTHER)


@pytest.fixture
def use() -> Iterator[Callable[[Any], Any]]:
    before = keyring.get_keyring()

    def use(backend: Any) -> Any:
        keyring.set_keyring(backend)
        return backend

    yield use
    keyring.set_keyring(before)


def test_a_key_in_the_keyring_is_made_once_and_kept(use: Callable[[Any], Any]) -> None:
    backend = use(InMemory())
    source = KeyringKey("acme", "tokens")
    assert source.read() is None
    assert backend.writes == 0
    source.make()
    made = ids(source)
    source.make()
    assert ids(KeyringKey("acme", "tokens")) == made
    assert backend.writes == len(made) == 1
    assert list(backend.kept) == [("acme", "tokens")]


@pytest.mark.seconds
def test_processes_that_make_a_key_in_the_keyring_at_the_same_time_get_the_same_key(tmp_path: Path) -> None:
    for told in crowd("keyring", tmp_path, rounds=25):
        assert len(set(told)) == 1


@pytest.mark.parametrize(
    ("backend", "reads", "said"),
    [
        (Locked(), False, r"the keyring cannot be read \(KeyringLocked: Failed to unlock the collection!\): unlock it"),
        (NONE(), False, r"the keyring cannot be read \(NoKeyringError: No recommended"),
        (FORGETFUL(), True, "the keyring did not keep the key"),
        (Garbling(), True, "the keyring did not keep the key"),
        (Breaking(), True, r"the keyring did not accept the key \(RuntimeError\)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, KeyringBackend) else None,
)
def test_a_keyring_that_fails_is_told_without_any_key(
    use: Callable[[Any], Any], backend: KeyringBackend, reads: bool, said: str
) -> None:
    use(backend)
    source = KeyringKey()
    if reads:
        assert source.read() is None
    with pytest.raises(StoreUnavailable, match=said) as caught:
        source.make()
    assert_shows_no_key(caught.value)
    assert caught.value.__context__ is None  # the keyring's own frames hold the key


def test_nobody_waits_for_ever_while_another_makes_the_key(
    use: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend = use(InMemory())
    monkeypatch.setattr(keys, "MAKING_SECONDS", 0.0)
    holder = KeyringKey()
    with holder._making(), pytest.raises(StoreUnavailable, match="another process has been creating the keyring entry"):
        KeyringKey().make()
    assert backend.writes == 0
    holder.make()
    assert backend.writes == 1


def test_without_flock_no_key_is_made_and_the_command_is_told(
    use: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onerefresh.stores import flock

    backend = use(InMemory())
    monkeypatch.setattr(flock, "fcntl", None)
    with pytest.raises(StoreUnavailable, match="run `keyring set acme 'tokens'` and paste one"):
        KeyringKey("acme", "tokens").make()
    assert backend.writes == 0


def test_a_source_says_where_it_is_and_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACME_KEY", TEXT)

    def my_key() -> str:
        return TEXT

    told = [
        str(source)
        for source in (KeyFile(tmp_path / "k"), EnvironmentKey("ACME_KEY"), KeyringKey(), FunctionKey(my_key))
    ]
    assert told == [
        f"the key file {tmp_path / 'k'}",
        "the environment variable ACME_KEY",
        "the keyring entry onerefresh/encryption key",
        "the function my_key",
    ]


def test_the_byte_order_mark_of_windows_is_no_part_of_a_key(tmp_path: Path) -> None:
    path = tmp_path / "windows.key"
    path.write_bytes(b"\xef\xbb\xbf" + base64.b64encode(bytes(32)) + b"\r\n")
    path.chmod(0o600)
    assert len(ids(KeyFile(path))) == 1
