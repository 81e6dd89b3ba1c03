"""The looks in the background: what fails is looked at again, what is urgent comes first, each store has its own."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

import pytest
from tests.core.calls import PATIENCE, Refresher, first_token
from tests.regressions.test_stores_of_ones_own import Dictionary

from onerefresh import Credential, StoreUnavailable, Token, policy
from onerefresh.credential import bringing, watch
from onerefresh.credential.look import NEWEST_EVERY, Look
from onerefresh.credential.memory import SessionMemory
from onerefresh.credential.registry import memory_of
from onerefresh.losses import KEY, digest, read_losses, report_losses
from onerefresh.record_text import decode
from onerefresh.store import StoreOutcomeUnknown, StoreTime, Versioned
from onerefresh.threads import Job


class Lossy(Dictionary):
    """It may lose writes, and fails as often as it is told to. `asked`: what was asked of it."""

    may_go_back = True

    def __init__(self) -> None:
        super().__init__()
        self.clock_epoch = "first"
        self.fails: dict[tuple[str, str], list[Exception]] = {}
        self.asked: list[tuple[str, str]] = []

    def load(self, key: str) -> Versioned | None:
        self._asked("load", key)
        return super().load(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self._asked("cas", key)
        return super().cas(key, expected, body)

    def moment(self) -> StoreTime:
        self._asked("moment", "")
        return StoreTime(self.clock_epoch, time.monotonic())

    def _asked(self, what: str, key: str) -> None:
        self.asked.append((what, key))
        if self.fails.get((what, key)):
            raise self.fails[what, key].pop()

    def lose(self, *keys: str) -> None:
        for key in keys:
            del self.records[key]

    def generation(self, key: str) -> int | None:
        found = self.records.get(key)
        return decode(found.body, key).generation if found else None


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "FIRST_REST", 0.0)
    monkeypatch.setattr(bringing, "REST", 0.0)


@pytest.fixture(autouse=True)
def _no_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests take the looks themselves, but those that are about the threads."""
    if "threads" not in request.fixturenames:
        monkeypatch.setattr(watch.Watch, "learned", lambda *_: None)


class Holder:
    """A process that holds fresh tokens, and looks when it is told to."""

    def __init__(self, store: Lossy, *keys: str) -> None:
        self.store = store
        self.credentials = {key: Credential(key, Refresher(), store=store) for key in keys}
        for credential in self.credentials.values():
            credential.login(first_token())
            credential.token()
        self.look = Look(lambda: True)
        self.looks()

    @property
    def last(self) -> SessionMemory:
        return memory_of(self.store, list(self.credentials)[-1])

    def looks(self) -> float:
        return self.look.taken(self.store, self.last)


# --- What fails once ---

DOWN, UNKNOWN = StoreUnavailable("a blip"), StoreOutcomeUnknown("the answer was lost")
BLIPS = {
    "the note": ("load", KEY, DOWN),
    "the clock": ("moment", "", DOWN),
    "the record": ("load", "acme", DOWN),
    "writing the record": ("cas", "acme", DOWN),
    "whether it was written": ("cas", "acme", UNKNOWN),
    "noting it": ("cas", KEY, DOWN),
    "a strange error": ("load", "acme", OSError("strange")),
}


@pytest.mark.parametrize(("what", "key", "error"), BLIPS.values(), ids=list(BLIPS))
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("clock_epoch", ["first", "second"])
def test_what_cannot_be_read_or_written_now_is_looked_at_again(
    what: str, key: str, error: Exception, times: int, clock_epoch: str
) -> None:
    """Before, the loss counted as seen, and the next look knew nothing of it."""
    store = Lossy()
    holder = Holder(store, "acme", "last")
    store.lose("acme")
    if clock_epoch == "first":
        report_losses(store, ["acme"])  # else another server answers, which has not got it
    store.clock_epoch = clock_epoch
    store.fails[what, key] = [error] * times
    looks = 0
    while store.generation("acme") is None:
        pause = holder.looks()
        assert store.generation("acme") == 1 or pause < 1.0
        looks += 1
        assert looks < 8
    assert holder.looks() > 1.0


def test_only_what_failed_is_looked_at_again() -> None:
    store = Lossy()
    holder = Holder(store, "acme", "beta", "last")
    store.clock_epoch = "second"
    store.fails["load", "beta"] = [DOWN]
    holder.looks()
    store.asked.clear()
    holder.looks()
    assert {key for what, key in store.asked if what == "load"} == {KEY, "beta"}


def test_the_look_at_the_credential_learned_last_is_taken_again_where_it_failed() -> None:
    """Before, it was four looks until the next one."""
    store = Lossy()
    holder = Holder(store, "acme", "last")
    for _ in range(NEWEST_EVERY - 1):
        holder.looks()
    store.lose("acme", "last")
    store.fails["load", "last"] = [DOWN]
    assert holder.looks() < 1.0
    holder.looks()
    assert (store.generation("acme"), store.generation("last")) == (1, 1)


def test_a_look_that_fails_for_long_is_taken_more_and_more_rarely() -> None:
    store = Lossy()
    holder = Holder(store, "acme")
    store.fails["load", KEY] = [DOWN] * 20
    pauses = [holder.looks() for _ in range(20)]
    assert pauses[0] <= 0.2
    assert 0.75 * policy.LOOK_EVERY <= pauses[-1] <= policy.LOOK_EVERY


def test_a_store_that_cannot_say_whether_it_may_go_back_is_looked_at_again() -> None:
    class Odd(Lossy):
        says = True

        @property
        def may_go_back(self) -> bool:  # type: ignore[override]  # as some do
            if not self.says:
                raise StoreUnavailable("who knows")
            return True

    store = Odd()
    holder = Holder(store, "acme")
    store.says = False
    holder.looks()
    store.says = True
    store.lose("acme")
    report_losses(store, ["acme"])
    holder.looks()
    assert store.generation("acme") == 1


# --- Many ---


def test_what_others_have_noted_comes_back_first_and_what_is_lost_is_noted_before_it_comes_back() -> None:
    """Before, fifty came back in any order, each with a recovery lease, before the first of them was noted."""
    keys = [f"tenant-{number}" for number in range(150)]
    store = Lossy()
    holder = Holder(store, *keys)
    store.lose(*keys)
    report_losses(store, ["tenant-7", "tenant-8"])
    store.clock_epoch = "second"
    store.asked.clear()
    holder.looks()
    written = [key for what, key in store.asked if what == "cas"]
    records = list(dict.fromkeys(key for key in written if key != KEY))  # each is written, and then its lease begins
    assert set(records) == set(keys)
    assert {"tenant-7", "tenant-8"} < set(records[: bringing.BATCH])
    first = next(key for key in records if key not in ("tenant-7", "tenant-8"))
    assert KEY in written[: written.index(first)]
    lost = read_losses(store).lost
    assert set(lost) == {digest(key) for key in keys}
    assert len(lost) == len(keys), "each is noted once"
    leases = [decode(store.records[key].body, key).lease for key in keys]
    assert all(lease is not None and lease.is_recovery and lease.noted for lease in leases)


def test_a_process_that_has_much_to_compare_says_so_until_it_has_done_it() -> None:
    store = Lossy()
    holder = Holder(store, *(f"tenant-{number}" for number in range(bringing.BATCH + 1)))
    said: list[int] = []
    load = store.load

    def loads(key: str) -> Versioned | None:
        if key != KEY:
            said.append(len(read_losses(store).comparing))
        return load(key)

    store.clock_epoch = "second"
    store.load = loads  # type: ignore[method-assign]
    holder.looks()
    assert set(said) == {1}
    assert read_losses(store).comparing == {}


def test_so_does_one_whose_store_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "BEAT", 0.0)
    store = Lossy()
    holder = Holder(store, "acme")
    store.clock_epoch = "second"
    store.asked.clear()
    holder.looks()
    assert ("cas", KEY) in store.asked
    assert read_losses(store).comparing == {}


def test_several_are_compared_at_the_same_time() -> None:
    store = Lossy()
    holder = Holder(store, *(f"tenant-{number}" for number in range(bringing.AT_ONCE)))
    together = threading.Barrier(bringing.AT_ONCE)
    load = store.load

    def loads(key: str) -> Versioned | None:
        if key != KEY:
            together.wait(PATIENCE)
        return load(key)

    store.clock_epoch = "second"
    store.load = loads  # type: ignore[method-assign]
    assert holder.looks() > 1.0


def test_it_is_done_by_one_thread_where_no_other_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Lossy()
    holder = Holder(store, "acme", "beta")
    store.lose("acme", "beta")
    store.clock_epoch = "second"
    monkeypatch.setattr(bringing, "start", no_thread)
    holder.looks()
    assert (store.generation("acme"), store.generation("beta")) == (1, 1)


# --- Threads ---


def no_thread(*_: object, **__: object) -> Job:
    raise RuntimeError("can't start new thread")


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are threads that look, often."""
    monkeypatch.setattr(policy, "LOOK_EVERY", 0.05)
    monkeypatch.setattr("onerefresh.credential.look.LOOK_EVERY", 0.05)
    monkeypatch.setattr(watch, "FIRST_LOOK", (0.0, 0.0))


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def logged_in(key: str, store: Lossy) -> tuple[Credential, Token]:
    credential = Credential(key, Refresher(), store=store)
    credential.login(first_token())
    return credential, credential.token()


@pytest.mark.usefixtures("threads")
def test_a_store_that_hangs_holds_up_the_looks_at_no_other() -> None:
    """Before, one thread looked at all stores, one after the other."""
    hangs, go_on = threading.Event(), threading.Event()

    class Hangs(Lossy):
        cut_off = False

        def load(self, key: str) -> Versioned | None:
            if self.cut_off and key == KEY:
                hangs.set()
                assert go_on.wait(PATIENCE)
            return super().load(key)

    other, store = Hangs(), Lossy()
    credentials = [logged_in("other", other), logged_in("acme", store)]
    other.cut_off = True
    try:
        assert hangs.wait(PATIENCE)
        store.lose("acme")
        report_losses(store, ["acme"])
        until(lambda: store.generation("acme") == 1)
    finally:
        go_on.set()
    assert credentials


@pytest.mark.usefixtures("threads")
def test_whatever_a_look_raises_the_next_one_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, that ended the looks at every store of the process."""
    monkeypatch.setattr(watch, "LOOK_SELDOM", 0.01)
    raised = threading.Event()
    last = watch.Watch._last

    def raises_once(self: watch.Watch, store: Lossy) -> SessionMemory | None:
        if threading.current_thread().name == watch.NAME and not raised.is_set():
            raised.set()
            raise OSError("strange")
        return last(self, store)

    monkeypatch.setattr(watch.Watch, "_last", raises_once)
    store = Lossy()
    credential, _ = logged_in("acme", store)
    assert raised.wait(PATIENCE)
    store.lose("acme")
    report_losses(store, ["acme"])
    until(lambda: store.generation("acme") == 1)
    assert credential._memory.watched


@pytest.mark.usefixtures("threads")
def test_where_no_thread_can_start_the_next_call_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, nobody looked at that store any more, for as long as the token was fresh."""
    with monkeypatch.context() as patched:
        patched.setattr(watch, "start", no_thread)
        store = Lossy()
        credential, token = logged_in("acme", store)
        assert not credential._memory.watched
        for _ in range(2):
            assert credential.token() is token
            assert not credential._memory.watched
    assert credential.token() is token
    assert credential._memory.watched
    held = credential._memory.held
    assert held.refresh_at > time.time(), "and later calls are as quick as ever"
    store.lose("acme")
    report_losses(store, ["acme"])
    until(lambda: store.generation("acme") == 1)


@pytest.mark.usefixtures("threads")
def test_a_thread_ends_when_its_store_closes_and_no_late_token_begins_another() -> None:
    store = Lossy()
    credential, _ = logged_in("acme", store)
    watch.watch.leave(store)
    until(lambda: id(store) not in watch.watch._eyes)
    watch.begin_to_watch(credential._memory)
    assert id(store) not in watch.watch._eyes


@pytest.mark.seconds
@pytest.mark.usefixtures("threads")
def test_a_thread_ends_with_the_last_credential_and_the_next_one_begins_anew() -> None:
    store = Lossy()
    for _ in range(2):
        credential, _ = logged_in("acme", store)
        store.lose("acme")
        report_losses(store, ["acme"])
        until(lambda: store.generation("acme") is not None)
        del credential
        until(lambda: gc.collect() >= 0 and id(store) not in watch.watch._eyes)


@pytest.mark.usefixtures("threads")
def test_a_logout_does_not_end_the_looks_at_the_login_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, the thread ended when nothing was known, and nobody began another one."""
    store = Lossy()
    credential, _ = logged_in("acme", store)
    credential.logout()
    looks = watch.watch._eyes[id(store)]
    looked = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(watch.Watch, "_last", lambda *_: looked.set())
        assert looked.wait(PATIENCE)  # it has seen that nothing is known
    assert watch.watch._eyes[id(store)] is looks
    credential.login(first_token(refresh_token="refresh-again"))
    credential.token()
    store.lose("acme")
    report_losses(store, ["acme"])
    until(lambda: store.generation("acme") == 3)
