"""User code runs in the middle of each lock, on the thread that holds it: in a collection, and in a signal handler.

Run by any Python, with the standard library alone, unless locks that need more are asked for. Prints
``lock: way: method: outcome, afterwards`` line by line, and is killed with a traceback of all threads if it hangs.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from onerefresh import locks, threads

faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True)
SOURCE = Path(locks.__file__).parent
Lock = locks.Lock
properties: Any = Lock
enter, made = properties.__enter__.fget, Lock.__init__
names: dict[int, str] = {}
armed: list[Any] = []
places = map(str, itertools.count())


# --- Every lock knows where it was made, and user code runs when it has been taken ---


def init(self: Lock, order: int = 0) -> None:
    made(self, order)
    frame = sys._getframe(1)
    owner = frame.f_locals.get("self")
    file = Path(frame.f_code.co_filename)
    if file.is_relative_to(SOURCE):
        names[id(self)] = f"{file.relative_to(SOURCE)} {type(owner).__name__ if owner is not None else 'itself'}"


def entering(self: Lock) -> Callable[[], None]:
    take = enter(self)

    def taken() -> None:
        take()
        taken_now(self)

    return taken


def taken_now(lock: Lock) -> None:
    if armed and armed[0] == names.get(id(lock)):
        _, run = armed
        armed.clear()
        run()


properties.__init__, properties.__enter__ = init, property(entering)

from onerefresh import (  # noqa: E402
    Credential,
    Credentials,
    OnerefreshError,
    Token,
    flight,
    timekeeper,
    workers,
)
from onerefresh import stores as stores_room  # noqa: E402
from onerefresh.circuit import Circuits  # noqa: E402
from onerefresh.credential.background import background_tasks  # noqa: E402
from onerefresh.credential.cached_token import NOTHING  # noqa: E402
from onerefresh.secret import Secret  # noqa: E402
from onerefresh.stores.change_notifier import ChangeNotifier  # noqa: E402
from onerefresh.stores.flock import FlockHold, LockWaiter, lock_path  # noqa: E402
from onerefresh.stores.memory import MemoryStore  # noqa: E402
from onerefresh.stores.redis.connection import RedisConnection  # noqa: E402
from onerefresh.stores.sqlite import SQLiteStore  # noqa: E402
from onerefresh.testing import AuthServer  # noqa: E402
from onerefresh.testing.gates import Gates  # noqa: E402
from onerefresh.testing.log import Log  # noqa: E402
from onerefresh.verdict import FailureKind, Verdict  # noqa: E402


class Refresher:
    host = "login.example:443"

    def __call__(self, token: Token) -> dict[str, object]:
        return {"access_token": "next", "refresh_token": "refresh", "expires_in": 3600}


class Subscription:
    reusable = False

    def listen(self, keys: frozenset[str]) -> dict[str, str]:
        return {}

    def receive(self, seconds: float) -> tuple[str, ...]:
        time.sleep(0.001)
        return ()

    def close(self) -> None:
        """Nothing is open."""


class World:
    """One credential that has expired, another one that goes on afterwards, and what takes each of the locks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore()
        seed: dict[str, object] = {"access_token": "first", "refresh_token": "refresh", "expires_in": 3600}
        self.acme = Credential("acme", Refresher(), token=seed, store=self.store, max_wait=20)
        self.witness = Credential("witness", Refresher(), token=seed, store=self.store, max_wait=20)
        self.tenants = Credentials(Refresher(), store=self.store, max_wait=20, limit=1)
        self.tenants["tenant"].login({"access_token": "old", "refresh_token": "refresh", "expires_at": 1_000_000_000})
        self.acme.token()
        self.acme._memory.held = NOTHING

    def park(self) -> None:
        path = lock_path(self.folder / "tokens.db", next(places))  # the thread of another one may still be leaving it
        hold = FlockHold.take(path)
        LockWaiter().subscribe(path, lambda: None)
        assert isinstance(hold, FlockHold)
        hold.release()

    def serve(self) -> None:
        with AuthServer() as server:
            server.issue()

    def fail_once(self) -> None:
        with AuthServer() as server:
            server.fail_next()

    def connect_postgres(self) -> None:
        from onerefresh.stores.postgres.own_connections import OwnConnections

        OwnConnections(Secret("postgresql://user@127.0.0.1:1/database")).close()

    def make_transports(self) -> None:
        import httpx2

        from onerefresh.clients.httpx import BearerTransport

        BearerTransport(self.acme, "https://acme.com")._make(httpx2.Request("GET", "https://acme.com"))

    def demonstrate(self) -> None:
        from onerefresh.cli import demo_worker

        with demo_worker._telling:
            pass


def listened(notifier: ChangeNotifier) -> None:
    woken = threading.Event()
    wakeup = notifier.subscribe("acme", "", 0.0, woken.set)
    woken.wait(0.005)
    wakeup.end()


TAKING: dict[str, Callable[[World], object]] = {
    "credential/memory.py SessionMemory": lambda world: world.acme.token(),
    "credential/registry.py _Registry": lambda world: Credential("other", Refresher(), store=world.store),
    "credential/background.py BackgroundTasks": lambda world: background_tasks.leave(world.store),
    "credentials/lru.py LruWithWeakTail": lambda world: world.tenants["another"],
    "host_limiter.py HostLimiter": lambda world: world.tenants["tenant"].token(),
    "circuit.py Circuits": lambda world: Circuits().settles(
        ("login.example", None), "acme", Verdict(FailureKind.UNAVAILABLE, "down")
    ),
    "stores/__init__.py itself": lambda world: stores_room.open_store(f"sqlite:///{world.folder}/tokens.db"),
    "stores/memory.py MemoryStore": lambda world: world.witness.login({"access_token": "new", "expires_in": 3600}),
    "stores/flock.py LockWaiter": World.park,
    "stores/forking.py itself": lambda world: SQLiteStore(world.folder / "tokens.db").load("acme"),
    "stores/change_notifier.py ChangeNotifier": lambda world: listened(ChangeNotifier(Subscription)),
    "stores/redis/connection.py RedisConnection": lambda world: RedisConnection(
        object, (), print, mine=False
    )._client(),
}
MORE: dict[str, Callable[[World], object]] = {
    "testing/authority.py Authority": World.serve,
    "testing/faults.py Faults": World.fail_once,
    "testing/gates.py Gates": lambda world: Gates().hold("api"),
    "testing/http.py HttpServer": World.serve,
    "testing/log.py Log": lambda world: Log().entries(),
    "stores/postgres/own_connections.py OwnConnections": World.connect_postgres,
    "clients/httpx.py BearerTransport": World.make_transports,
    "cli/demo_worker.py itself": World.demonstrate,
}
ASKING: dict[str, Callable[[World], object]] = {
    "token": lambda world: world.acme.token(),
    "current": lambda world: world.acme.current() or "nothing",
    "bearer": lambda world: world.acme.bearer(),
    "refused": lambda world: world.acme.token(refused=world.acme._memory.known),
    "login": lambda world: world.acme.login({"access_token": "new", "expires_in": 3600}),
    "logout": lambda world: world.acme.logout(),
    "status": lambda world: world.acme.status(),
    "close": lambda world: world.acme.close(),
    "served": lambda world: world.witness.token(),
    "served tenant": lambda world: world.tenants["tenant"].current() or "nothing",
    "a tenant": lambda world: world.tenants["tenant"].token(),
    "a new one": lambda world: Credential("new", Refresher(), store=world.store, token={"access_token": "a"}).token(),
    "close all": lambda world: world.tenants.close(),
}


FEW = ("token", "current", "login", "close", "served")


# --- Ways into the middle of it ---


class Dying:
    def __init__(self, run: Callable[[], None]) -> None:
        self.run, self.itself = run, self

    def __del__(self) -> None:
        self.run()


def in_a_collection(run: Callable[[], None]) -> None:
    Dying(run)
    gc.collect()


def in_a_signal_handler(run: Callable[[], None]) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)


WAYS = {"a collection": in_a_collection, "a signal handler": in_a_signal_handler}


def outcome_of(call: Callable[[World], object], world: World) -> str:
    began = time.monotonic()
    try:
        call(world)
        outcome = "answered"
    except OnerefreshError as error:
        outcome = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "onerefresh.errors")
    except BaseException as error:  # noqa: BLE001 - it is told
        outcome = f"RAISED {type(error).__name__}: {error}"
    return f"LATE {outcome}" if time.monotonic() - began > 15 else outcome


def tried(name: str, way: str, method: str, folder: Path) -> None:
    world, over = World(folder), threading.Event()
    outcome: list[str] = []

    def run() -> None:
        outcome.append(outcome_of(ASKING[method], world))
        over.set()

    signal.signal(signal.SIGUSR1, lambda *_: run())
    armed[:] = [name, lambda: WAYS[way](run)]
    afterwards = outcome_of(taking[name], world)
    if not over.wait(20):
        outcome.append("IT NEVER RAN")
    armed.clear()
    closed = method in ("close all", "close", "logout")
    goes_on = [outcome_of(lambda world: world.witness.token(refused=world.witness.token()), world)]
    if not closed:
        goes_on.append(outcome_of(lambda world: world.acme.token(refused=world.acme._memory.known), world))
    print(f"{name}: {way}: {method}: {outcome[0]}; {afterwards}; {', '.join(goes_on)}", flush=True)


def at_a_new_line(done: set[str], thread: str, method: str, folder: Path) -> bool:
    """As `tried`, at the first line of the library that is not `done` and that a thread comes to while the token is
    renewed; whether there was one.
    """
    world = World(folder)
    while workers._busy or workers._free or timekeeper._threads:  # only new threads are traced
        time.sleep(0.001)
    outcome: list[str] = []
    asked: list[str] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(str(SOURCE)) or asked:
            return None
        line = f"{Path(frame.f_code.co_filename).relative_to(SOURCE)}:{frame.f_lineno}"
        if event == "line" and line not in done:
            done.add(line)
            asked.append(line)  # other threads ask nothing from now on
            sys.settrace(None)
            outcome.append(f"{line}: {outcome_of(ASKING[method], world)}")
        return trace

    (threading.settrace if thread == "its thread" else sys.settrace)(trace)
    afterwards = outcome_of(lambda world: world.acme.token(), world)
    sys.settrace(None)
    threading.settrace(None)
    for job in list(threads._jobs):
        job.over.wait(20)
    goes_on = outcome_of(lambda world: world.acme.token(refused=world.acme._memory.known), world)
    if outcome:
        print(f"of {thread}: {outcome[0]}; {afterwards}; {goes_on}", flush=True)
    return bool(outcome)


taking = dict(TAKING)
if "lines" in sys.argv[2:]:
    taking.clear()
    flight.BEGUN = 0.02
    with tempfile.TemporaryDirectory() as folder:
        for thread in ("the caller", "its thread"):
            done: set[str] = set()
            while at_a_new_line(done, thread, "token", Path(folder)):
                continue
if "all" in sys.argv[2:]:
    taking |= MORE
for name in taking:
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            for method in ASKING if name in TAKING and "all" in sys.argv[2:] else FEW:
                tried(name, way, method, Path(folder))
