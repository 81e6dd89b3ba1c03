"""`docs/moving.md` is executed: a table of one's own with old workers that lock it, new ones beside them, and back."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.package import ROOT, alone

from onerefresh import Credential, Credentials
from onerefresh.cli import build_parser
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.stores import open_store
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow

GUIDE = (ROOT / "docs" / "moving.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
FILES = {found[1]: block for block in BLOCKS if (found := re.match(r"# (\w+\.py)\n", block))}
CUSTOMERS = ["customer-1", "customer-2", "customer-3"]
REFRESHING = """
import json, os, time, urllib.request

def refresh(answer):
    body = json.dumps({"refresh_token": answer["refresh_token"]}).encode()
    request = urllib.request.Request(os.environ["REFRESH_URL"], body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as found:
        answer = json.load(found)
    return {**answer, "expires_at": time.time() + answer["expires_in"]}
"""
OLD = "import sys, old_worker\nfor customer in sys.argv[1:]:\n    print(old_worker.access_token(customer))"
NEW = (
    "import sys, new_worker\nfor customer in sys.argv[1:]:\n    print(new_worker.customers[customer].token().reveal())"
)
MANY_OLD = """
import sys, time, old_worker
left = set(sys.argv[1:])
deadline = time.monotonic() + 60
while left and time.monotonic() < deadline:
    for customer in sorted(left):
        try:
            old_worker.access_token(customer)
        except old_worker.HasMoved:
            left.remove(customer)
    time.sleep(0.02)  # SQLite's lock is not fair: others starve beside a loop without a pause
assert not left
"""
DIES = """
import os, sys, new_worker
taken = new_worker.take_over
new_worker.customers._first = lambda customer, options: (taken(customer), os._exit(9))
new_worker.customers[sys.argv[1]].token()
"""


class App:
    """The page's files, with a table of customers whose access tokens have ended, and the test server as acme.com."""

    def __init__(self, folder: Path, server: AuthServer) -> None:
        folder.mkdir()
        self.folder, self.server, self.table = folder, server, folder / "table.db"
        programs = {"old.py": OLD, "new.py": NEW, "many_old.py": MANY_OLD, "dies.py": DIES, "refreshing.py": REFRESHING}
        for name, text in {**FILES, **programs}.items():
            (folder / name).write_text(text.replace("https://acme.com/token", server.token_url), "utf-8")
        self.environment = {
            **os.environ,
            "ACME_SECRET": server.client_secret or "",
            "REFRESH_URL": server.json_refresh_url,
            "TABLE": str(self.table),
            "TOKEN_STORE": f"sqlite:///{folder}/store/tokens.db",
            "ONEREFRESH_STATE": str(folder / "state"),
            "PYTHONPATH": os.pathsep.join([str(folder), alone()]),
        }
        (column,) = re.findall(r"`(ALTER TABLE [^`]+)`", GUIDE)
        with closing(sqlite3.connect(self.table)) as database, database:
            database.execute("CREATE TABLE tokens (customer text PRIMARY KEY, answer text NOT NULL)")
            database.execute(column)
            for customer in CUSTOMERS:
                answer = {**server.issue(), "expires_at": 1_000_000_000}
                database.execute("INSERT INTO tokens VALUES (?, ?, 0)", (customer, json.dumps(answer)))

    def start(self, program: str, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, program, *words],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, program: str, *words: str, code: int = 0) -> str:
        child = self.start(program, *words)
        out, err = child.communicate(timeout=60)
        assert child.returncode == code, err
        return out if code == 0 else err

    def moved(self) -> list[str]:
        with closing(sqlite3.connect(self.table)) as database:
            return [name for (name,) in database.execute("SELECT customer FROM tokens WHERE moved ORDER BY customer")]


@pytest.fixture
def app(new_auth_server: Callable[..., AuthServer], tmp_path: Path) -> App:
    return App(tmp_path / "app", new_auth_server(client_id="backend"))


def test_the_files_are_those_that_the_tests_run() -> None:
    assert set(FILES) == {"table.py", "old_worker.py", "new_worker.py", "back.py", "moved.py"}


@pytest.mark.long
def test_a_customer_goes_over_to_the_new_workers_in_one_step(app: App) -> None:
    first = app.run("old.py", "customer-1").strip()
    assert app.run("new.py", "customer-1").strip() == first
    assert app.moved() == ["customer-1"]
    assert "HasMoved: customer-1" in app.run("old.py", "customer-1", code=1)
    app.run("old.py", "customer-2")
    app.run("new.py", "customer-2", "customer-3")
    assert app.run("new.py", "customer-1").strip() == first
    assert (app.server.counters.refreshes, app.server.counters.reuse_detected) == (3, 0)


@pytest.mark.long
def test_old_and_new_workers_beside_each_other_use_no_token_twice(
    new_auth_server: Callable[..., AuthServer], tmp_path: Path
) -> None:
    app = App(tmp_path / "app", new_auth_server(client_id="backend", expires_in=1.0))
    old = [app.start("many_old.py", *CUSTOMERS) for _ in range(2)]
    app.server.wait_for("token_sent", 4, timeout=60)
    for _ in range(3):
        new = [app.start("new.py", *CUSTOMERS) for _ in range(2)]
        assert [(child.communicate(timeout=60)[1], child.returncode) for child in new] == [("", 0)] * 2
    assert [(child.communicate(timeout=60)[1], child.returncode) for child in old] == [("", 0)] * 2
    assert app.moved() == CUSTOMERS
    assert app.server.counters.reuse_detected == 0


def test_a_worker_that_dies_while_it_takes_a_customer_over_loses_nothing(app: App) -> None:
    app.run("dies.py", "customer-1", code=9)
    assert app.moved() == ["customer-1"]
    assert "HasMoved" in app.run("old.py", "customer-1", code=1)
    assert app.run("new.py", "customer-1").startswith("test-access-")
    assert (app.server.counters.refreshes, app.server.counters.reuse_detected) == (1, 0)


@pytest.mark.long
def test_the_way_back_and_forth_again(app: App) -> None:
    app.run("new.py", *CUSTOMERS)
    app.run("back.py", *CUSTOMERS)
    assert app.moved() == []
    assert list(open_store(app.environment["TOKEN_STORE"]).scan()) == []
    before = app.server.counters.refreshes
    with closing(sqlite3.connect(app.table)) as database, database:
        database.execute("UPDATE tokens SET answer = json_set(answer, '$.expires_at', 1000000000)")
    newest = app.run("old.py", *CUSTOMERS)
    assert app.server.counters.refreshes == before + 3
    assert app.run("new.py", *CUSTOMERS) == newest
    assert app.moved() == CUSTOMERS
    assert app.server.counters.reuse_detected == 0


@pytest.mark.long
def test_a_backup_of_the_table_that_is_one_rotation_old(app: App) -> None:
    backup = app.folder / "backup.db"
    shutil.copy(app.table, backup)
    app.run("new.py", "customer-1", "customer-2")  # each is refreshed once: what the backup has is used up
    shutil.copy(backup, app.table)
    assert app.moved() == []
    app.run("moved.py")
    assert app.moved() == ["customer-1", "customer-2"]
    assert "HasMoved" in app.run("old.py", "customer-1", code=1)
    app.run("old.py", "customer-3")
    app.run("new.py", *CUSTOMERS)
    assert app.server.counters.reuse_detected == 0


def test_an_old_copy_of_the_old_store_replaces_nothing(auth_server: AuthServer, tmp_path: Path) -> None:
    login = TokenEndpoint(auth_server.token_url, client_id="client", client_secret=auth_server.client_secret)
    old, new = f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
    with Credential("acme", login, store=old) as acme:
        acme.login(auth_server.issue())
    shutil.copy(tmp_path / "old.db", tmp_path / "backup.db")
    (tmp_path / "backup.db").chmod(0o600)
    (command,) = re.findall(r"^\$ (onerefresh store copy .*)$", GUIDE, re.MULTILINE)
    words = command.replace("sqlite:///tokens.db", old).replace("env:TOKEN_STORE", new).split()[1:]
    assert build_parser(words).parse_args(words).run(build_parser(words).parse_args(words)) == 0
    with Credential("acme", login, store=new) as acme:
        newest = acme.token(refused=acme.token())
    shutil.copy(tmp_path / "backup.db", tmp_path / "old.db")
    assert build_parser(words).parse_args(words).run(build_parser(words).parse_args(words)) == 0
    with Credential("acme", login, store=new, moved_from=old) as acme:
        assert acme.token().reveal() == newest.reveal()
    assert auth_server.counters.reuse_detected == 0


def test_the_last_example_leaves_nothing_of_a_customer(auth_server: AuthServer, tmp_path: Path) -> None:
    (block,) = [block for block in BLOCKS if "purge(" in block and not block.startswith("#")]
    login = TokenEndpoint(auth_server.token_url, client_id="client", client_secret=auth_server.client_secret)
    with Credentials(login, store=f"sqlite:///{tmp_path}/tokens.db") as customers:
        customers["customer-42"].login(auth_server.issue())
        exec(compile(block, "docs/moving.md", "exec"), {"customers": customers})
    assert list(open_store(f"sqlite:///{tmp_path}/tokens.db").scan()) == []
