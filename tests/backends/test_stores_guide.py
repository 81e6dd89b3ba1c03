"""`docs/stores.md` is executed on real servers, and its facts are looked at."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import onerefresh
from onerefresh import Credential, Credentials, OnerefreshError, Store
from onerefresh.cli import build_parser
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.profile import profile_named
from onerefresh.store import POLL
from onerefresh.stores import open_store
from onerefresh.stores.flock import MOST_BLOCKED
from onerefresh.testing import AuthServer
from onerefresh.token import Token

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer
    from tests.servers.valkey import Valkey

pytestmark = pytest.mark.slow

GUIDE = (Path(__file__).parents[2] / "docs" / "stores.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
OPENING, POSTGRES, REDIS, SAVING, ENCRYPTION = BLOCKS
ACL = re.search(r"^```text\n(ACL SETUSER .*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def page(
    auth_server: AuthServer, new_store: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    page = Page(auth_server, new_store)
    yield page
    if "pool" in page.names:
        page.names["pool"].close()


class Page:
    """The names of the page's examples, and credentials on the stores that they open."""

    def __init__(self, server: AuthServer, new_store: Callable[[str], str]) -> None:
        self.server, self._new_store = server, new_store
        secret = server.client_secret
        self.login = TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=secret)
        self.names: dict[str, Any] = {"login": self.login, "first_answer": self.seed()}
        exec("from onerefresh import Credential, Credentials", self.names)

    def seed(self) -> dict[str, object]:
        return self.server.issue()

    def run(self, block: str) -> None:
        if "db.example.com" in block:
            block = block.replace("postgresql://app@db.example.com/app", self._new_store("postgres"))
        if "cache.example.com" in block:
            host, port = re.findall(r"//([\w.]+):(\d+)", self._new_store("redis"))[0]
            block = block.replace("cache.example.com:6379", f"{host}:{port}").replace("cache.example.com", host)
            block = block.replace(", 6379,", f", {port},")
        exec(compile(block, "docs/stores.md", "exec"), self.names)

    def works(self, store: Store, key: str) -> bool:
        """Whether a login and a refresh that follows are kept there."""
        with Credentials(self.login, store=store) as customers:
            first = customers[key].login(self.seed())
            second = customers[key].token(refused=first)
        with Credentials(self.login, store=store) as customers:
            kept = customers[key].token()
            customers.delete(key)
        return kept.reveal() == second.reveal() != first.reveal()


def test_the_first_example_opens_stores_for_one_and_for_many(page: Page) -> None:
    page.run(OPENING)
    page.server.revoke_access()
    assert page.names["acme"].token(refused=page.names["acme"].token()).generation == 2
    page.names["customers"]["42"].login(page.seed())
    assert page.names["customers"]["42"].status().generation == 1
    page.names["customers"].close()
    page.names["acme"].close()


@pytest.mark.parametrize("block", [POSTGRES, REDIS, ENCRYPTION], ids=["postgres", "redis", "encryption"])
def test_the_examples_open_stores_that_keep_tokens(page: Page, block: str) -> None:
    opened: list[Store] = []
    lines, part = block.splitlines(keepends=True), ""
    for line in lines:
        part += line
        if line.startswith("store = "):
            page.run(part)
            opened.append(page.names["store"])
            part = ""
    page.run(part)
    assert len(opened) == block.count("store = ")
    assert all(page.works(store, f"customer-{number}") for number, store in enumerate(opened))


def test_a_place_of_ones_own_is_given_each_new_token_before_anyone(page: Page) -> None:
    page.run(SAVING)
    acme = page.names["acme"]
    token = acme.token(refused=acme.token())
    assert page.names["kept"]["access_token"] == token.reveal()
    acme.close()


def test_every_url_of_the_page_can_be_opened(page: Page) -> None:
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \| (?!store)", GUIDE, re.MULTILINE)
    urls = [url for cells in rows for url in re.findall(r"`([^`]+)`", cells) if "://" in url or url == "sqlite"]
    assert len(urls) == 9
    for url in urls:
        store = open_store(url.replace("sqlite:////srv/app", f"sqlite:////{Path.cwd()}"))
        assert "PASSWORD" not in store.name
        assert store.durable is not url.startswith(("redis", "unix"))


def test_the_options_of_a_redis_url_are_those_of_the_page() -> None:
    from onerefresh.stores.redis.address import OPTIONS

    said = GUIDE.partition("A Redis URL takes")[2].partition("\n\n")[0]
    assert {*re.findall(r"`(\w+)=", said), "db"} == OPTIONS


def test_the_user_of_the_page_may_do_all_that_a_redis_store_does(page: Page, valkey_server: Valkey) -> None:
    assert ACL is not None
    words = ACL[1].replace("PASSWORD", "secret").split()
    assert valkey_server.do(*words) == "OK"
    valkey_server.do("ACL", "LOG", "RESET")
    try:
        url = valkey_server.url.replace("redis://", "redis://app:secret@")
        store = open_store(f"{url}?durable=yes")
        assert page.works(store, "customer")
        assert store.moment() is not None
        version = store.cas("waiting", None, "{}")
        assert "waiting" in [key for key, _ in store.scan()]
        store.wait("waiting", version, 0.3)
        assert valkey_server.do("ACL", "LOG") == []  # what it was refused
    finally:
        valkey_server.do("ACL", "DELUSER", "app")
        valkey_server.do("FLUSHALL")


def test_a_redis_that_throws_records_away_is_refused(valkey_server: Valkey) -> None:
    valkey_server.do("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(OnerefreshError, match="noeviction"):
            open_store(f"{valkey_server.url}?prefix=evicted:").load("a")
        valkey_server.do("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        assert open_store(f"{valkey_server.url}?prefix=evicted:").load("a") is None
    finally:
        valkey_server.do("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")


def test_the_table_that_store_init_prints_and_three_rights_are_enough(
    page: Page, postgres_server: PostgresServer, new_store: Callable[[str], str]
) -> None:
    url = new_store("postgres")
    printed = subprocess.run(
        [sys.executable, "-m", "onerefresh", "store", "init", "--sql"], capture_output=True, text=True, check=True
    ).stdout
    import psycopg

    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS poor")
        owner.execute("CREATE ROLE poor LOGIN PASSWORD 'secret'")
        store = open_store(url.replace("postgres@", "poor:secret@"))
        with pytest.raises(OnerefreshError, match="onerefresh store init --sql"):
            store.cas("a", None, "{}")
        owner.execute(printed.encode())
        with pytest.raises(OnerefreshError, match="GRANT SELECT, INSERT, UPDATE"):
            store.cas("a", None, "{}")
        owner.execute("GRANT SELECT, INSERT, UPDATE ON onerefresh_records TO poor")
        assert page.works(store, "customer")


def test_waiting_on_sqlite_takes_as_many_threads_as_the_page_says() -> None:
    said = GUIDE.partition("### Waiting on SQLite")[2].partition("\n## ")[0]
    assert "at most eight such threads" in " ".join(said.split())
    assert set(re.findall(r"(\d+\.\d+)\sseconds", said)) == {str(POLL)}
    assert MOST_BLOCKED == 8


def test_the_commands_of_the_page_are_the_ones_that_there_are() -> None:
    commands = re.findall(r"^\$ onerefresh ([^|\n]*)", GUIDE, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        build_parser(command.split()).parse_args(command.split())


def test_times_to_live_are_those_of_the_page() -> None:
    token = Token("a", "b", issued_at=0.0, expires_at=3600.0)
    strict = profile_named("strict")
    assert strict.time_to_live(token, 0.0, 10.0) == 300.0
    assert strict.time_to_live(token, 3480.0, 10.0) == 120.0
    assert strict.time_to_live(token, 3599.0, 10.0) == 30.0
    assert profile_named("grace:30").time_to_live(token, 0.0, 10.0) == 18.0
    assert {profile_named(name).time_to_live(token, 0.0, 10.0) for name in ("static", "google", "hubspot")} == {30.0}


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_an_async_client_of_a_server_is_refused(kind: str) -> None:
    from onerefresh.stores.postgres import PostgresStore
    from onerefresh.stores.redis import RedisStore

    if kind == "redis":
        import redis.asyncio

        with pytest.raises(onerefresh.ConfigurationError, match="blocking"):
            RedisStore(redis.asyncio.Redis())
    else:
        from psycopg_pool import AsyncConnectionPool

        with pytest.raises(onerefresh.ConfigurationError, match="ConnectionPool"):
            PostgresStore(AsyncConnectionPool("postgresql://a@b/c", open=False))


def test_extras_of_the_page_exist() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(re.findall(r"onerefresh\[(\w+)\]", GUIDE)) <= set(project["optional-dependencies"])


def test_a_store_that_is_down_sends_nothing(auth_server: AuthServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Credential("acme", lambda token: token, store=f"sqlite:///{tmp_path}/file/tokens.db") as acme:
        with pytest.raises(onerefresh.StoreUnavailable):
            acme.token()
    assert auth_server.counters.token_requests == 0
