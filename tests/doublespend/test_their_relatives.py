"""Nobody spends a copy that is older than what somebody else knows, in the same process or in its forked child."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.calls import PATIENCE, outcomes, refresher_of, status_of
from tests.core.children import Child
from tests.doublespend.conftest import LOOKS

from onerefresh import Credential, Credentials, LoginRequired, SaveFailed, Token
from onerefresh.credential.registry import _registry
from onerefresh.store import Store
from onerefresh.stores.sqlite import SQLiteStore
from onerefresh.testing import AuthServer

if TYPE_CHECKING:
    from tests.doublespend.conftest import Crew
    from tests.doublespend.places import Place

AFTER = ["empty", "gone back"]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    with ExitStack() as resources:
        yield resources


def assert_unharmed(server: AuthServer, told: object) -> None:
    counters = server.counters
    got = f"{type(told).__name__}: {told}" if isinstance(told, Exception) else told
    said = (
        f"{counters.reuse_detected} reuses, {counters.token_requests} token requests, session {server.session}; "
        f"the caller got {got}"
    )
    assert counters.reuse_detected == 0, said
    assert isinstance(told, Token), said
    assert (told.generation, counters.token_requests, server.session) == (2, 1, "alive"), said
    assert status_of(f"{server.api_url}/items", told) == 200


# --- Two ways to one place, in one process ---


def _redis(url: str, resources: ExitStack) -> Store:
    import redis

    from onerefresh.stores.redis import RedisStore

    client = resources.enter_context(redis.Redis.from_url(url))
    return resources.enter_context(closing(RedisStore(client)))


def _postgres(url: str, resources: ExitStack) -> Store:
    from onerefresh.stores.postgres import PostgresStore

    return resources.enter_context(closing(PostgresStore(url)))


def _sqlite(url: str, resources: ExitStack) -> Store:
    return resources.enter_context(closing(SQLiteStore(url.removeprefix("sqlite:///"))))


def _encrypted(url: str, resources: ExitStack) -> Store:
    from onerefresh.stores.encrypted import EncryptedStore
    from onerefresh.stores.keys import KeyFile

    key = Path(url.removeprefix("sqlite:///")).with_name("acme.key")
    return resources.enter_context(closing(EncryptedStore(_sqlite(url, resources), KeyFile(key), adopt_plain=True)))


def _spelled_otherwise(url: str, resources: ExitStack) -> str:
    return url.replace("127.0.0.1", "localhost")


WAYS: dict[str, tuple[str, Callable[[str, ExitStack], str | Store]]] = {
    "sqlite, URL and object": ("sqlite deleted", _sqlite),
    "sqlite, plain and encrypted": ("sqlite deleted", _encrypted),
    "valkey, URL and client": ("valkey flushed", _redis),
    "valkey, two URLs": ("valkey flushed", _spelled_otherwise),
    "postgres, URL and object": ("postgres deleted", _postgres),
}


def _one_way(server: AuthServer, store: str | Store, made_by: str, resources: ExitStack) -> Credential:
    refresher = refresher_of(server)
    if made_by == "Credential":
        return resources.enter_context(Credential("acme", refresher, store=store))
    return resources.enter_context(Credentials(refresher, store=store))["acme"]


CASES = [(way, newest, after) for way in WAYS for newest in ("by the URL", "by the other way") for after in AFTER]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=["; newest ".join(case[:2]) + f"; {case[2]}" for case in CASES])
def test_two_ways_to_one_place(
    authority: AuthServer, new_place: Callable[[str], Place], resources: ExitStack, case: tuple[str, str, str]
) -> None:
    way, newest, after = case
    kind, other_way = WAYS[way]
    place = new_place(kind)
    by_url = _one_way(authority, place.url, "Credential", resources)
    by_url.login(authority.issue())
    other = _one_way(authority, other_way(place.url, resources), "Credential", resources)
    first = by_url.token()
    assert other.token().identity == first.identity
    if after == "gone back":
        place.remember()
    knows, asks = (by_url, other) if newest == "by the URL" else (other, by_url)
    assert knows.token(refused=first).generation == 2
    if after == "empty":
        place.forget()
    else:
        place.restore()
    assert_unharmed(authority, outcomes([lambda: asks.token(refused=first)])[0])


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("made_by", ["Credential", "Credentials"])
def test_two_objects_on_two_objects_of_one_store(
    authority: AuthServer, new_place: Callable[[str], Place], resources: ExitStack, made_by: str, after: str
) -> None:
    place = new_place("sqlite deleted")
    knows, asks = (_one_way(authority, _sqlite(place.url, resources), made_by, resources) for _ in range(2))
    first = knows.login(authority.issue())
    assert asks.token().identity == first.identity
    place.remember()
    assert knows.token(refused=first).generation == 2
    if after == "empty":
        place.forget()
    else:
        place.restore()
    assert_unharmed(authority, outcomes([lambda: asks.token(refused=first)])[0])


# --- Hosts that save tokens themselves ---


class Host:
    """Keeps the newest answer, unless its disk is full."""

    def __init__(self, first: dict[str, object]) -> None:
        self.kept: Any = first
        self.is_full = False

    def keep(self, token: Token) -> None:
        if self.is_full:
            raise OSError("the disk is full")
        self.kept = token

    def credential(self, server: AuthServer, resources: ExitStack) -> Credential:
        made = Credential("acme", refresher_of(server), token=self.kept, save=self.keep)
        return resources.enter_context(made)


def test_two_objects_of_one_host(authority: AuthServer, resources: ExitStack) -> None:
    host = Host(authority.issue())
    knows, asks = host.credential(authority, resources), host.credential(authority, resources)
    first = knows.token()
    assert asks.token().identity == first.identity
    assert knows.token(refused=first).generation == 2
    assert_unharmed(authority, outcomes([lambda: asks.token(refused=first)])[0])


@pytest.mark.slow
@pytest.mark.long
def test_a_host_that_could_not_save_makes_its_next_object_from_what_it_has(
    authority: AuthServer, resources: ExitStack
) -> None:
    host = Host(authority.issue())
    knows = host.credential(authority, resources)
    first = knows.token()
    host.is_full = True
    with pytest.raises(SaveFailed):
        knows.token(refused=first)
    host.is_full = False
    asks = host.credential(authority, resources)
    assert_unharmed(authority, outcomes([lambda: asks.token(refused=first)])[0])
    assert host.kept.generation == 2


def _as_kept(token: Token) -> dict[str, object]:
    """What a host writes into a row of its own."""
    texts = {"access_token": token.reveal(), "refresh_token": token.reveal_refresh_token()}
    return {**texts, "expires_at": token.expires_at}


def _assert_goes_on(server: AuthServer, host: Host, asks: Credential, requests: int) -> None:
    token = asks.token(refused=asks.token())
    counters = server.counters
    assert (counters.reuse_detected, counters.token_requests, server.session) == (0, requests, "alive"), counters
    assert status_of(f"{server.api_url}/items", token) == 200
    assert token.reveal() == host.kept.reveal()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("tokens_before", [0, 1, 2])
@pytest.mark.parametrize("before", ["is there", "is garbage", "was closed"])
def test_an_object_that_is_made_anew_has_what_the_one_before_could_not_save(
    authority: AuthServer, resources: ExitStack, before: str, tokens_before: int
) -> None:
    """Before, it sent the refresh token that the host had kept, and that was used up, unless that was the first one."""
    host = Host(authority.issue())
    knows = Credential("acme", refresher_of(authority), token=host.kept, save=host.keep)
    for _ in range(tokens_before):
        knows.token(refused=knows.token())
        knows.replayed(knows.token(), accepted=True)
    host.kept = _as_kept(host.kept) if tokens_before else host.kept
    host.is_full = True
    with pytest.raises(SaveFailed):
        knows.token(refused=knows.token())
    if before == "was closed":
        with pytest.raises(SaveFailed):
            knows.close()
    if before != "is there":
        del knows
        gc.collect()
    host.is_full = False
    _assert_goes_on(authority, host, host.credential(authority, resources), tokens_before + 1)
    gc.collect()
    until(lambda: all(memory.save != host.keep for memory in _registry._kept))  # by its thread, once callers are woken


def test_an_object_that_is_made_of_what_was_kept_a_moment_ago_has_what_was_saved_since(
    authority: AuthServer, resources: ExitStack
) -> None:
    host = Host(authority.issue())
    knows = host.credential(authority, resources)
    knows.replayed(knows.token(refused=knows.token()), accepted=True)
    row = _as_kept(host.kept)
    knows.token(refused=knows.token())
    asks = resources.enter_context(Credential("acme", refresher_of(authority), token=row, save=host.keep))
    _assert_goes_on(authority, host, asks, 2)
    asks.replayed(asks.token(), accepted=True)
    asks.token(refused=asks.token())
    _assert_goes_on(authority, host, knows, 3)


def test_it_waits_for_the_answer_to_what_another_one_has_sent(authority: AuthServer, resources: ExitStack) -> None:
    host = Host(authority.issue())
    knows = host.credential(authority, resources)
    knows.replayed(knows.token(refused=knows.token()), accepted=True)
    host.kept = _as_kept(host.kept)
    asks = host.credential(authority, resources)
    authority.hold("token")
    with ThreadPoolExecutor(2) as pool:
        told = [pool.submit(one.token, refused=one.token()) for one in (knows, asks)]
        authority.wait_for("token", 1)
        authority.release("token")
        texts = {one.result(PATIENCE).reveal() for one in told}
    counters = authority.counters
    assert (len(texts), counters.reuse_detected, counters.token_requests) == (1, 0, 2)
    assert authority.session == "alive"


@pytest.mark.seconds
def test_several_that_ask_at_the_same_moment_send_one_request(authority: AuthServer, resources: ExitStack) -> None:
    """Before, most of them sent: each has a record of its own, in which it alone claims."""
    for number in range(1, 11):
        host = Host(authority.issue())
        several = [
            resources.enter_context(
                Credential(f"acme {number}", refresher_of(authority), token=host.kept, save=host.keep)
            )
            for _ in range(3)
        ]
        first = [one.token() for one in several]
        asks = [partial(one.token, refused=token) for one, token in zip(several, first, strict=True)]
        told = outcomes(asks * 2)
        counters = authority.counters
        assert (counters.reuse_detected, counters.token_requests) == (0, number)
        assert {token.reveal() if isinstance(token, Token) else token for token in told} == {host.kept.reveal()}


@pytest.mark.seconds
def test_a_host_that_logs_in_anew_begins_a_session_of_its_own(authority: AuthServer, resources: ExitStack) -> None:
    host = Host(authority.issue())
    knows = Credential("acme", refresher_of(authority), token=host.kept, save=host.keep)
    host.is_full = True
    with pytest.raises(SaveFailed):
        knows.token(refused=knows.token())
    del knows
    host.is_full, host.kept = False, authority.issue()
    asks = host.credential(authority, resources)
    assert asks.token(refused=asks.token()).reveal() == host.kept.reveal()
    assert authority.counters.reuse_detected == 0
    until(lambda: all(memory.save != host.keep for memory in _registry._kept))  # by its thread, once callers are woken


# --- A first token, and an object on another store object that knows more ---


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_an_object_with_the_first_token_on_another_way_to_a_store_that_has_lost_its_record(
    authority: AuthServer, new_place: Callable[[str], Place], resources: ExitStack, way: str
) -> None:
    """Before, it took itself for the first one, although another object of the same process knew better."""
    kind, other_way = WAYS[way]
    place, seed = new_place(kind), authority.issue()
    knows = resources.enter_context(Credential("acme", refresher_of(authority), token=seed, store=place.url))
    first = knows.token()
    assert knows.token(refused=first).generation == 2
    place.forget()
    asks = resources.enter_context(
        Credential("acme", refresher_of(authority), token=seed, store=other_way(place.url, resources))
    )
    assert_unharmed(authority, outcomes([lambda: asks.token(refused=first)])[0])


def test_a_first_token_whose_session_was_logged_out_of_is_not_brought_back(
    authority: AuthServer, new_place: Callable[[str], Place], resources: ExitStack
) -> None:
    place, seed = new_place("sqlite deleted"), authority.issue()
    knows = resources.enter_context(Credential("acme", refresher_of(authority), token=seed, store=place.url))
    knows.token()
    asks = resources.enter_context(
        Credential("acme", refresher_of(authority), token=seed, store=_sqlite(place.url, resources))
    )
    asks.logout()
    place.forget()
    with pytest.raises(LoginRequired):
        asks.token()
    assert authority.counters.token_requests == 0


# --- A forked child, and another process ---


class Forking(Child):
    scripts = "tests.doublespend.scripts"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("newest", ["child", "parent"])
@pytest.mark.parametrize("kind", ["valkey flushed", "sqlite deleted"])
def test_a_forked_child(new_crew: Callable[[str], Crew], kind: str, newest: str) -> None:
    crew = new_crew(kind)
    crew.log_in("acme")
    options = {"url": crew.server.json_refresh_url, "store": crew.place.url, "patches": json.dumps(LOOKS)}
    with Forking("fork", newest=newest, **options) as process:
        assert process.line() == "the store may lose it"
        crew.place.forget()
        process.tell()
        told = process.line()
        counters = crew.server.counters
        said = f"{counters.reuse_detected} reuses, {counters.token_requests} token requests; the caller got {told}"
        assert (counters.reuse_detected, told) == (0, "2"), said
        assert crew.server.session == "alive", said


@pytest.mark.slow
@pytest.mark.long
def test_another_process_while_the_newest_token_is_saved_nowhere(
    new_crew: Callable[[str], Crew], tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "spool").write_text("not a folder")
    crew = new_crew("valkey flushed")
    crew.log_in("acme")
    holder, stale = crew.start(gates=["answered"]), crew.start()
    assert (holder.ask("token"), stale.ask("token")) == (1, 1)
    holder.do("refused").until_gate("answered")
    with crew.place.down():
        holder.open("answered")
        assert holder.until("error")[0] == "StoreUnavailable"
    crew.assert_unharmed(stale.ask("expired", seconds=1_000.0), stale, holder)
