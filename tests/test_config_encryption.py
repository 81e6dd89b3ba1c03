"""The configuration file: encryption of what a store holds."""

from __future__ import annotations

import base64
import os
import sqlite3
import stat
import sys
import types
from pathlib import Path

import pytest
from tests.configuration import ACCOUNTS, PROVIDER, problem_with

import onerefresh
from onerefresh.cli import main
from onerefresh.errors import StoreUnavailable
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.testing import AuthServer

ALONE = '[credentials.acme]\ntoken_endpoint = "https://login.acme.com/token"\nclient_id = "cli"\n'


def key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


class Home:
    """A configuration with a provider's section, and the database that it names."""

    def __init__(self, folder: Path, server: AuthServer) -> None:
        self.folder, self.server = folder, server
        self.path, self.database = folder / "onerefresh.toml", folder / "tokens.db"

    def write(self, *before: str, credential: str = "") -> None:
        self.path.write_text(
            "\n".join(['store = "sqlite:///tokens.db"', *before]) + f"\n[credentials.acme]\n"
            f'token_endpoint = "{self.server.token_url}"\nclient_id = "client"\n'
            f'client_secret = {{ env = "ACME_SECRET" }}\n{credential}\n'
        )
        self.path.chmod(0o600)

    def file(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def refreshes(self) -> str:
        """Log in and refresh; the new access token."""
        with onerefresh.load("acme", config=self.path) as acme:
            return acme.token(refused=acme.login(self.server.issue())).reveal()

    def reads(self) -> str:
        with onerefresh.load("acme", config=self.path) as acme:
            return acme.token().reveal()

    @property
    def bodies(self) -> str:
        with sqlite3.connect(self.database) as connection:
            (table,) = connection.execute("select name from sqlite_master where type = 'table' limit 1").fetchone()
            rows = connection.execute(f"select * from {table}").fetchall()
        connection.close()
        return repr(rows)


@pytest.fixture
def home(tmp_path: Path, auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ACME_SECRET", auth_server.client_secret or "")
    return Home(tmp_path, auth_server)


@pytest.mark.parametrize("source", ["file", "env", "command", "keyring"])
def test_what_a_store_holds_is_encrypted(home: Home, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    entries: dict[tuple[str, str], str] = {}
    keyring = types.ModuleType("keyring")
    keyring.__dict__.update(
        get_password=lambda service, user: entries.get((service, user)),
        set_password=lambda service, user, text: entries.__setitem__((service, user), text),
    )
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    monkeypatch.setenv("ACME_KEY", key())
    program = home.file("print-key", f"#!/bin/sh\necho {key()}\n", 0o700)
    written = {
        "file": '{ file = "keys/acme.key" }',
        "env": '{ env = "ACME_KEY" }',
        "command": f'{{ command = ["{program}"] }}',
        "keyring": '{ keyring = "acme" }',
    }
    home.write(f"encrypt = {written[source]}")
    token = home.refreshes()
    assert home.reads() == token
    assert token not in home.bodies
    assert "test-refresh" not in home.bodies
    if source == "file":
        made = home.folder / "keys" / "acme.key"
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
    if source == "keyring":
        assert list(entries) == [("acme", "encryption key")]
    home.write()
    with pytest.raises(StoreUnavailable, match="it is encrypted"):
        home.reads()


def test_a_credential_may_say_otherwise(home: Home) -> None:
    home.write('encrypt = { env = "NOT_SET_ANYWHERE" }', credential="encrypt = false")
    assert home.refreshes() in home.bodies
    home.write(credential='encrypt = { file = "a.key", adopt_plain = true }')
    token = home.refreshes()
    assert token not in home.bodies


def test_a_key_is_changed_in_the_file(home: Home) -> None:
    home.write('encrypt = { file = "old.key" }')
    token = home.refreshes()
    home.write('encrypt = { file = "new.key" }')
    with pytest.raises(StoreUnavailable, match="another key"):
        home.reads()
    home.write('encrypt = { file = "new.key", old_keys = [{ file = "old.key" }] }')
    assert home.reads() == token
    token = home.refreshes()
    home.write('encrypt = { file = "new.key" }')
    assert home.reads() == token


def test_a_context_binds_the_records(home: Home) -> None:
    home.write('encrypt = { file = "a.key", context = "production", require_context = true }')
    home.refreshes()
    home.write('encrypt = { file = "a.key", context = "staging" }')
    with pytest.raises(StoreUnavailable, match="another context"):
        home.reads()


def test_a_credential_moves_from_one_encrypted_store_to_another(home: Home) -> None:
    home.write('encrypt = { file = "a.key" }')
    token = home.refreshes()
    moved = 'store = "sqlite:///next.db"\nmoved_from = "sqlite:///tokens.db"\n'
    home.write('encrypt = { file = "b.key" }', credential=f'{moved}moved_from_encrypt = {{ file = "a.key" }}')
    assert home.reads() == token


def test_all_users_of_one_place_share_one_store_and_one_refresh(home: Home) -> None:
    home.write('encrypt = { file = "a.key" }')
    one, other = (onerefresh.load("acme", config=home.path) for _ in range(2))
    assert isinstance(one._memory.store, EncryptedStore)
    assert one._memory is other._memory
    token = one.login(home.server.issue())
    one.close()
    assert other.token(refused=token).generation == 2
    other.close()
    assert home.server.counters.token_requests == 1


def test_status_says_how_it_is_encrypted(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.write('encrypt = { file = "a.key" }')
    home.refreshes()
    assert main(["--config", str(home.path), "status", "acme"]) == 0
    assert "tokens.db, encrypted with the key from file a.key\n" in capsys.readouterr().out


def test_a_command_that_prints_no_key_is_named(home: Home) -> None:
    program = home.file("no-key", "#!/bin/sh\necho hunter2hunter2\n", 0o700)
    home.write(f'encrypt = {{ command = ["{program}"] }}')
    with pytest.raises(StoreUnavailable, match=r"command .*no-key contains an entry that is not a key") as raised:
        home.refreshes()
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"keyring"', "encrypt: a key does not belong in this file; write { keyring = "),
        (f'"{"a" * 43}="', "encrypt: a key does not belong in this file"),
        ("true", "encrypt must be a table, not true or false"),
        ("3", "encrypt must be a table, not a number"),
        ("[]", "encrypt must be a table, not a list"),
        ("{}", "encrypt must name exactly one of keyring, file, env, command, not nothing"),
        ('{ key = "x" }', "encrypt must name exactly one of keyring, file, env, command, not key"),
        ('{ file = "a", env = "B" }', "not file, env"),
        ("{ file = 3 }", "encrypt.file must be a string in quotes, not a number"),
        ('{ keyring = "" }', "encrypt.keyring must be a string in quotes, not an empty string"),
        ('{ command = "pass show key" }', "encrypt.command must be a list of strings"),
        ('{ file = "a", old_keys = "b" }', "encrypt.old_keys must be a list of sources"),
        ('{ file = "a", old_keys = ["b"] }', "encrypt.old_keys: a key does not belong in this file"),
        ('{ file = "a", old_keys = [{}] }', "encrypt.old_keys must name exactly one of"),
        ('{ file = "a", context = 3 }', "encrypt.context must be a string in quotes"),
        ('{ file = "a", adopt_plain = 1 }', "encrypt.adopt_plain must be true or false, not a number"),
        ('{ file = "a", require_context = true }', "encrypt.require_context = true needs a context"),
        (
            '{ file = "a", context = "c", require_context = true, adopt_plain = true }',
            "encrypt.require_context = true contradicts adopt_plain",
        ),
    ],
)
def test_what_is_wrong_with_an_encryption_is_named(value: str, said: str) -> None:
    for text, where in [
        (f"encrypt = {value}\n{ALONE}", ""),
        (f"{ALONE}encrypt = {value}", "credentials.acme."),
        (f'{ALONE}moved_from = "sqlite"\nmoved_from_encrypt = {value}', "credentials.acme.moved_from_"),
        (f"{PROVIDER}encrypt = {value}\n{ACCOUNTS}", "providers.acme."),
    ]:
        found = problem_with(text)
        assert said.split(".", maxsplit=1)[0] in found
        assert found.startswith((f"{where}encrypt", where)), found
        assert "aaaa" not in found


def test_an_encryption_of_a_store_that_is_not_there_is_named() -> None:
    found = problem_with(f'{ALONE}moved_from_encrypt = {{ file = "a" }}')
    assert "credentials.acme.moved_from_encrypt is only for a moved_from" in found
