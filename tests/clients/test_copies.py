"""Copies of what holds a credential have the same credential; a pickle says what to do instead."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
from tests.core.calls import Refresher, first_token

from onerefresh import Credential, Credentials
from onerefresh.clients import aiohttp as for_aiohttp
from onerefresh.clients import httpx as for_httpx
from onerefresh.clients import requests as for_requests
from onerefresh.endpoints import JsonEndpoint
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.stores.encrypted import EncryptedStore
from onerefresh.stores.keys import EnvironmentKey
from onerefresh.stores.memory import MemoryStore
from onerefresh.stores.postgres import PostgresStore
from onerefresh.stores.redis import RedisStore
from onerefresh.stores.sqlite import SQLiteStore

API = "https://api.example"


def made(folder: Path) -> dict[str, Any]:
    acme = Credential("acme", Refresher(), token=first_token())
    endpoint = TokenEndpoint("https://login.example/token", client_id="me", client_secret="hidden-secret")
    many = Credentials(endpoint, store=MemoryStore())
    return {
        "Credential": acme,
        "a tenant": many["acme"],
        "Credentials": many,
        "TokenEndpoint": endpoint,
        "JsonEndpoint": JsonEndpoint("https://login.example/refresh", body={"refresh_token": "{refresh_token}"}),
        "httpx auth": for_httpx.BearerAuth(acme, API),
        "httpx transport": for_httpx.BearerTransport(acme, API),
        "requests auth": for_requests.BearerAuth(acme, API),
        "requests adapter": for_requests.BearerAdapter(acme, API),
        "aiohttp middleware": for_aiohttp.BearerAuth(acme, API),
        "memory": MemoryStore(),
        "sqlite": SQLiteStore(folder / "tokens.db"),
        "postgres": PostgresStore("postgresql://app:hidden-secret@127.0.0.1:9/app"),
        "redis": RedisStore("redis://:hidden-secret@127.0.0.1:9/0"),
        "encrypted": EncryptedStore(MemoryStore(), EnvironmentKey("NOT_NEEDED")),
    }


KINDS = [
    "Credential", "a tenant", "Credentials", "TokenEndpoint", "JsonEndpoint", "httpx auth", "httpx transport",
    "requests auth", "requests adapter", "aiohttp middleware", "memory", "sqlite", "postgres", "redis", "encrypted",
]  # fmt: skip


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("NOT_NEEDED", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    return made(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_the_same_object(things: dict[str, Any], kind: str) -> None:
    assert set(things) == set(KINDS)
    thing = things[kind]
    settings = {"api": [thing, {"deep": thing}]}
    assert copy.copy(thing) is thing
    assert copy.deepcopy(thing) is thing
    copied = copy.deepcopy(settings)
    assert copied is not settings
    assert copied["api"][0] is thing
    assert copied["api"][1]["deep"] is thing


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", KINDS)
def test_a_pickle_says_what_to_do_instead(things: dict[str, Any], kind: str, protocol: int) -> None:
    with pytest.raises(TypeError, match=r"objects cannot be pickled: .* in the other process") as raised:
        pickle.dumps([things[kind]], protocol)
    name = "Credential" if kind == "a tenant" else type(things[kind]).__name__
    assert str(raised.value).startswith(f"{name} objects ")
    assert "hidden-secret" not in str(raised.value)


def test_copies_of_a_session_of_requests_have_the_same_credential(things: dict[str, Any]) -> None:
    session = requests.Session()
    session.auth = things["requests auth"]
    session.mount(f"{API}/", things["requests adapter"])
    for other in (copy.copy(session), copy.deepcopy(session)):
        assert other.auth is session.auth
        assert other.get_adapter(f"{API}/items") is things["requests adapter"]
    with pytest.raises(TypeError, match=r"BearerA.* objects cannot be pickled"):
        pickle.dumps(session)


@pytest.mark.parametrize("package", [httpx, httpx2])
def test_copies_of_a_client_of_httpx_have_the_same_credential(things: dict[str, Any], package: Any) -> None:
    with package.Client(auth=things["httpx auth"], mounts={API: things["httpx transport"]}) as client:
        other = copy.copy(client)
        assert other.auth is things["httpx auth"]
        assert things["httpx transport"] in other._mounts.values()
        with contextlib.suppress(TypeError):  # its own TLS context cannot be copied
            assert copy.deepcopy(client).auth is things["httpx auth"]


def test_copies_of_the_arguments_of_aiohttp_have_the_same_credential(things: dict[str, Any]) -> None:
    async def main() -> None:
        given: Any = {"middlewares": (things["aiohttp middleware"],), "headers": {"a": "b"}}
        async with aiohttp.ClientSession(**copy.deepcopy(given)) as session:
            assert session._middlewares[0] is things["aiohttp middleware"]

    asyncio.run(main())


def test_a_copy_closes_with_the_one_that_it_is() -> None:
    acme = Credential("acme", Refresher(), token=first_token())
    with copy.deepcopy(acme) as same:
        assert same.token() == acme.token()
    assert acme.current() is None
