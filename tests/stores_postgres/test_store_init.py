"""The command `onerefresh store init`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.core.leaks import SEED_ACCESS, shown
from tests.servers.postgres import PostgresServer

from onerefresh.cli import main
from onerefresh.stores.postgres import PostgresStore

PASSWORD = SEED_ACCESS


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_CONFIG", str(tmp_path / "onerefresh.toml"))


def configure(folder: Path, *stores: str) -> None:
    file = folder / "onerefresh.toml"
    file.touch(mode=0o600)
    sections = [
        f'[credentials.c{number}]\nrefresher = "a:b"\nstore = "{store}"\n' for number, store in enumerate(stores)
    ]
    file.write_text("".join(sections))


def test_it_creates_the_table_of_the_store_in_the_configuration_file(
    server: PostgresServer, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(tmp_path, "sqlite", server.url, server.url)
    for _ in range(2):
        assert main(["store", "init", "--table", table]) == 0
        assert capsys.readouterr().err.count("is ready") == 1
    assert server.ask(f"SELECT count(*) FROM {table}") == [(0,)]


def test_it_creates_the_table_of_the_store_that_is_named(server: PostgresServer, table: str) -> None:
    assert main(["store", "init", "--store", server.url, "--table", table]) == 0
    assert PostgresStore(server.url, table=table).load("acme") is None
    assert server.ask(f"SELECT count(*) FROM {table}") == [(0,)]


def test_what_it_prints_makes_a_table_that_serves(
    server: PostgresServer, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "init", "--sql", "--table", table]) == 0
    server.ask(capsys.readouterr().out)
    store = PostgresStore(server.url, table=table)
    version = store.cas("acme", None, "body")
    assert store.load("acme") == (version, "body")


def test_printing_needs_neither_a_server_nor_psycopg() -> None:
    code = "import sys; sys.modules['psycopg'] = None; from onerefresh.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "store", "init", "--sql"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith('CREATE TABLE IF NOT EXISTS "onerefresh_records"')


def test_without_psycopg_the_extra_is_named() -> None:
    code = "import sys; sys.modules['psycopg'] = None; from onerefresh.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "store", "init", "--store", "postgresql://db/app"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'onerefresh[postgres]'" in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@db/app",
        f"postgres://db/app?user=me&password={PASSWORD}",
        f"postgresql://me:[{PASSWORD}@db/app",
    ],
)
def test_a_password_among_the_arguments_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--debug", "store", "init", "--store", url]) == 2
    said = capsys.readouterr()
    assert "PGPASSWORD" in said.err
    assert not shown(said.out + said.err)


def test_other_stores_need_no_preparation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(tmp_path, "sqlite", "memory")
    assert main(["store", "init"]) == 2
    assert "has no PostgreSQL store" in capsys.readouterr().err
    assert main(["store", "init", "--store", "sqlite"]) == 2
    assert "need no preparation" in capsys.readouterr().err


def test_a_server_that_is_down_is_an_error_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "init", "--store", "postgresql://me@127.0.0.1:1/app"]) == 1
    assert "no server is listening there" in capsys.readouterr().err
