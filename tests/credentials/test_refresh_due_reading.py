"""refresh_due reads the store on a thread that takes no signals: in a read, one could lose what it has borrowed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.core.calls import Refresher, first_token
from tests.credentials.tenants import until

from onerefresh import Credentials, StoreUnavailable, Token
from onerefresh.credential.registry import sharing
from onerefresh.credentials import Result, reading
from onerefresh.credentials.due import AHEAD
from onerefresh.store import Versioned
from onerefresh.stores.memory import MemoryStore


def due() -> Token:
    return Token("a", "r", expires_in=60, issued_at=time.time() - 30.0)


class Named(Refresher):
    """Says whose tokens these are, so that all records of a store can be looked through."""

    identity = "acme"


class Watched(MemoryStore):
    """Knows on which threads it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[threading.Thread] = set()
        self.before: Callable[[str], object] = str

    def load(self, key: str) -> Versioned | None:
        self.readers.add(threading.current_thread())
        self.before(key)
        return super().load(key)

    def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
        for one in super().scan():
            self.readers.add(threading.current_thread())
            yield one


@pytest.fixture
def store() -> Watched:
    return Watched()


@pytest.fixture
def customers(store: Watched) -> Iterator[Credentials]:
    with Credentials(Named(), store=store) as customers:
        for key in ("one", "two", "three"):
            customers[key].login(due())
        store.readers.clear()
        yield customers


def is_over() -> bool:
    return not any(thread.name == "onerefresh reader" for thread in threading.enumerate())


@pytest.mark.parametrize("named", [True, False])
def test_the_caller_s_thread_reads_nothing(customers: Credentials, store: Watched, *, named: bool) -> None:
    asked: list[threading.Thread] = []

    def keys() -> Iterator[str]:
        for key in ("one", "two", "three"):
            asked.append(threading.current_thread())
            yield key

    summary = customers.refresh_due(within=120.0, keys=keys() if named else None)
    assert summary.refreshed == 3
    assert store.readers
    assert threading.current_thread() not in store.readers
    assert set(asked) <= {threading.current_thread()}  # what gives the keys may belong to the caller's thread
    until(is_over, "the reader has ended")


def test_a_caller_who_is_interrupted_leaves_no_thread(customers: Credentials, store: Watched) -> None:
    gate = threading.Event()

    def interrupted(key: str) -> None:
        gate.wait()

    def progress(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        customers.refresh_due(within=120.0, progress=progress)
    until(is_over, "the reader has ended")

    store.before = interrupted
    closing = threading.Timer(0.0, customers.close)
    reader = reading.Reader(store, customers._check_open)
    closing.start()
    with pytest.raises(Exception, match="closed"):
        reader.ask(lambda: store.load("one"))
    gate.set()
    reader.end()
    closing.join()
    until(is_over, "the reader has ended")


def test_a_reader_of_whom_nobody_hears_ends_and_another_goes_on(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "IDLE", 0.01)
    reader = reading.Reader(store, lambda: None)
    first = reader.ask(threading.current_thread)
    until(is_over, "the reader has ended")
    assert reader.ask(threading.current_thread) is not first
    reader.end()


def test_records_before_an_error_count() -> None:
    told: list[Result] = []

    class Ending(Watched):
        def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
            yield from super().scan()
            raise StoreUnavailable("the rest is out of reach")

    with Credentials(Named(), store=Ending()) as customers:
        store = customers["one"]._memory.store
        store.cas("damaged", None, "{")
        with pytest.raises(StoreUnavailable, match="out of reach"):
            customers.refresh_due(within=60.0, progress=lambda result, _: told.append(result))
    assert [result.key for result in told] == ["damaged"]


def test_where_no_thread_can_start_it_reads_itself(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(reading, "start", start)
    assert reading.Reader(store, lambda: None).ask(threading.current_thread) is threading.current_thread()


class AtOneHost(Refresher):
    host, identity = "auth.example:443", "one at one host"


@pytest.mark.seconds
def test_a_run_goes_on_with_a_host_that_has_answered_before_it_has_read_all_records() -> None:
    """A million records of one provider were read first, while a single token was refreshed."""

    class Gated(MemoryStore):
        def scan(self) -> Iterator[tuple[str, Versioned | StoreUnavailable]]:
            for number, found in enumerate(list(super().scan())):
                if number == 2 * AHEAD:
                    until(lambda: refresher.calls and not any(one.flights for one in sharing(self)), "nothing begins")
                if number == 4 * AHEAD:
                    until(lambda: refresher.calls > 1, "the others wait for the end of the scan")
                yield found

    refresher = AtOneHost()
    with Credentials(refresher, store=Gated()) as credentials:
        for number in range(5 * AHEAD):
            answer = first_token(refresh_token=f"refresh {number}", expires_at=1_000_000_000)
            credentials[f"customer-{number}"].login(answer)
        summary = credentials.refresh_due(within=60, rate=None)
    assert (summary.refreshed, summary.failed) == (5 * AHEAD, 0)
