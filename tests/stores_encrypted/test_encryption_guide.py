from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest
from tests.stores_encrypted.crowd import InFiles

from onerefresh import Token, config
from onerefresh.stores import keys
from onerefresh.stores.encrypted import EncryptedStore

GUIDE = (Path(__file__).parents[2] / "docs" / "encryption.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def _own_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = keyring.get_keyring()
    monkeypatch.setattr(InFiles, "folder", tmp_path)
    keyring.set_keyring(InFiles())  # type: ignore[no-untyped-call]  # the package has no type for it
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("_own_keyring")
def test_the_examples_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ACME_KEY", KEY)

    def refresh(token: Token) -> dict[str, object]:
        return {"access_token": "test-access-2", "refresh_token": "test-refresh-2"}

    names: dict[str, Any] = {
        "__name__": "guide",
        "refresh": refresh,
        "first_answer": {"access_token": "test-access-1", "refresh_token": "test-refresh-1", "expires_at": 1},
        "second_answer": {"access_token": "test-access-3", "refresh_token": "test-refresh-3"},
        "fetch_key_from_vault": lambda: bytes(range(32)),
    }
    for example in EXAMPLES:
        for line in re.split(r"\n(?=store = )", example):
            exec(compile(line, "docs/encryption.md", "exec"), names)
            store = names.get("store")
            if isinstance(store, EncryptedStore):
                store.cas("another", (found := store.load("another")) and found.version, "test-access-in-plain")
    assert names["acme"].token().generation == 2
    databases = sorted(path.name for path in tmp_path.glob("*.db"))
    assert databases == ["acme.db", "bound.db", "environment.db", "keyring.db", "plain.db", "vault.db"]
    assert not [name for name in databases if b"test-" in (tmp_path / name).read_bytes()]
    assert sorted(path.name for path in (tmp_path / "home/.config/acme").iterdir()) == ["new.key", "onerefresh.key"]
    new, old = ((tmp_path / "home/.config/acme" / name).read_text() for name in ("new.key", "onerefresh.key"))
    assert EncryptedStore("sqlite:///acme.db", lambda: new).load("acme") is not None
    assert new != old


def test_the_guide_names_every_source_and_what_errors_say() -> None:
    for source in ("KeyFile(path)", "KeyringKey(service, username)", "EnvironmentKey(name)", "a function"):
        assert f"| `{source}` |" in GUIDE or f"| {source} |" in GUIDE
    classes = {name for name in keys.__all__ if name.endswith(("Key", "File")) and name != "FunctionKey"}
    assert classes <= set(re.findall(r"(\w+)\(", GUIDE))
    source = "".join(
        (Path(keys.__file__).parent / name).read_text("utf-8") for name in ("encrypted.py", "keys.py", "../store.py")
    )
    for said in re.findall(r"^\| ([a-z, ]+) \| [a-z]", GUIDE.partition("it says")[2], re.MULTILINE):
        assert all(part in source for part in said.split(", or ")), said


def test_the_configuration_of_the_guide_is_one() -> None:
    (written,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    sources = re.findall(r"^\| `(\{ .+ \})` \|", GUIDE, re.MULTILINE)
    (whole,) = re.findall(r"`encrypt = (\{[^`]*\})`", GUIDE)
    assert len(sources) == 4
    for source in [*sources, " ".join(whole.split())]:
        text = re.sub(r"^encrypt = .*$", f"encrypt = {source}", written, flags=re.MULTILINE)
        assert config.parse(text, Path("/etc/onerefresh.toml")).named("acme").encrypt is not None
