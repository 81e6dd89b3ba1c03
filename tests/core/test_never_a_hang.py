"""User code that asks wherever Python runs it: it is answered, or told at once that it cannot be; nothing hangs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.core.pythons import HERE, VERSIONS, told
from tests.package import PACKAGE

pytestmark = [pytest.mark.slow, pytest.mark.long]
SCRIPTS = Path(__file__).parent / "scripts"
TOO_LONG = 60.0
"""Seconds after which a child is thought to hang: it takes two or three."""


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


# --- The interpreter ends ---

EXIT_FUNCTIONS = ("finalize", "atexit", "an exit function from before")
PLACES = (*EXIT_FUNCTIONS, "a daemon thread", "a destructor", "a destructor in a circle")
SERVED = ("token", "current", "bearer")
METHODS = (*SERVED, "refused", "login", "status", "logout", "close")


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("version", VERSIONS)
def test_who_asks_when_the_interpreter_ends_is_answered_or_told_so(version: str, store: str, tmp_path: Path) -> None:
    """Before, 3.11 hung for ever with a token that had expired or was merely ageing; later ones raised ImportError."""
    url = store if store == "memory" else f"sqlite:///{tmp_path}/tokens.db"
    lines = told(version, SCRIPTS / "ask_at_the_end.py", url, TOO_LONG, seconds=TOO_LONG + 10)
    assert lines.pop(0) == "ends"
    asked = {tuple(line.split(": ", 3)[:3]): line.split(": ", 3)[3] for line in lines}
    assert set(asked) == {
        (place, life, method) for place in PLACES for life in ("fresh", "ageing", "expired") for method in METHODS
    }
    assert set(asked.values()) <= {"answered", "nothing", "CredentialClosed"}, lines
    for (place, life, method), outcome in asked.items():
        if method in SERVED and life != "expired":
            assert outcome == "answered", (place, life, method)
        if place in EXIT_FUNCTIONS:  # Python is whole yet
            assert outcome == ("nothing" if method == "close" else "answered"), (place, life, method)


# --- In the middle of our own work ---

LOCKS = {
    "credential/memory.py SessionMemory": "the token in memory and the flight: a token that serves is read without it",
    "credential/registry.py _Registry": "which objects share a token: only a new Credential needs it",
    "credential/background.py BackgroundTasks": "what is left to do: its thread, a renewal's end and close() take it",
    "credentials/lru.py LruWithWeakTail": "which tenants are kept: who is inside reads without it",
    "host_limiter.py HostLimiter": "the queue at each host: only renewals on threads of their own take it",
    "circuit.py Circuits": "which endpoints are left alone: only renewals on threads of their own take it",
    "stores/__init__.py itself": "the stores by name: only opening one needs it",
    "stores/memory.py MemoryStore": "the records: reading needs it not; of a higher order than a credential's",
    "stores/forking.py itself": "operations of SQLite: of a higher order than those of who uses a store",
    "stores/flock.py LockWaiter": "which files are waited for: of a higher order than the one of stores/forking.py",
    "stores/change_notifier.py ChangeNotifier": "who waits for which key: only renewals and the listener take it",
    "stores/redis/connection.py RedisConnection": "the client while it is made",
    "stores/postgres/own_connections.py OwnConnections": "the connections: they are opened and closed without it",
    "clients/httpx.py BearerTransport": "the transports while they are made",
    "testing/authority.py Authority": "the sessions of the test server",
    "testing/faults.py Faults": "the failures that were ordered of the test server",
    "testing/gates.py Gates": "the gates of the test server",
    "testing/http.py HttpServer": "the connections of the test server",
    "testing/log.py Log": "the log of the test server",
    "cli/demo_worker.py itself": "the worker's standard output",
}
"""What each lock guards, and why user code in its midst does no harm beyond its own error: no other code is called."""
NEEDS_MORE = frozenset(name for name in LOCKS if name.startswith(("testing", "clients", "cli", "stores/postgres")))
"""Not taken in other Pythons: they need other packages, or are no part of what runs in production."""


@pytest.mark.parametrize("version", VERSIONS)
def test_whoever_asks_within_a_lock_is_told_so_at_once_and_harms_nobody(version: str) -> None:
    """Before, each of these hung for ever. The interrupted call goes on, and so do the calls that follow."""
    more = ("all",) if version == HERE else ()
    lines = told(version, SCRIPTS / "ask_in_a_lock.py", TOO_LONG, *more, seconds=TOO_LONG + 10)
    assert {line.split(":")[0] for line in lines} == (set(LOCKS) if more else set(LOCKS) - NEEDS_MORE)
    assert {line.split(": ")[1] for line in lines} == {"a collection", "a signal handler"}
    for line in lines:
        method, outcomes = line.split(": ", 3)[2:]
        outcome, interrupted, afterwards = outcomes.split("; ")
        assert outcome in ("answered", "RefreshUnavailable"), line
        assert (interrupted, set(afterwards.split(", "))) == ("answered", {"answered"}), line
        if method in ("served", "current"):
            assert outcome == "answered", line


@pytest.mark.timeout(4 * TOO_LONG)  # 800 renewals, each with a wait of its own
def test_whoever_asks_at_any_line_of_a_renewal_harms_nobody() -> None:
    lines = told(HERE, SCRIPTS / "ask_in_a_lock.py", 3 * TOO_LONG, "lines", seconds=3 * TOO_LONG + 10)
    assert len([line for line in lines if line.startswith("of the caller")]) > 80
    assert len([line for line in lines if line.startswith("of its thread")]) > 300
    for line in lines:
        outcome, interrupted, afterwards = line.split(": ", 2)[2].split("; ")
        assert outcome in ("answered", "RefreshUnavailable"), line
        assert (interrupted, afterwards) == ("answered", "answered"), line


# --- Every lock of the package ---

BARRED = {
    "threading": {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "Timer", "Thread"},
    "_thread": {"allocate_lock", "allocate", "LockType", "RLock", "start_new_thread", "start_joinable_thread"},
    "queue": {"Queue", "LifoQueue", "PriorityQueue"},
}
ALLOWED = {
    "testing/http.py": {"Thread"},  # each connection of the test server has one
    "testing/stores/contract.py": {"Thread", "Barrier"},  # tests of stores
    "testing/stores/recording.py": {"Barrier", "Thread"},
    "testing/stores/subscriptions.py": {"Event", "Thread"},
    "cli/demo_run.py": {"Thread"},  # who reads from the demonstration's child processes
    "cli/testserver.py": {"Thread"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text("utf-8"))


def barred_in(tree: ast.Module) -> Iterator[str]:
    """Every name of a lock or thread of Python's own that the module makes or imports."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            if node.func.attr in BARRED.get(node.func.value.id, ()):
                yield node.func.attr
        elif isinstance(node, ast.ImportFrom) and node.module in BARRED:
            yield from (alias.name for alias in node.names if alias.name in BARRED[node.module])
        elif isinstance(node, ast.Import):
            yield from (alias.asname for alias in node.names if alias.name in BARRED and alias.asname)


def locks_in(tree: ast.Module) -> Iterator[str]:
    """The owner of every lock that the module makes: a class, or the module itself."""
    for owner in ast.iter_child_nodes(tree):
        name = owner.name if isinstance(owner, ast.ClassDef) else "itself"
        for node in ast.walk(owner):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Lock":
                yield name


def test_no_lock_or_thread_is_made_but_in_these_files() -> None:
    ours = ("latches.py", "locks.py", "threads.py")
    found = {name: set(barred_in(tree)) for name, tree in modules() if name not in ours}
    assert {name: barred for name, barred in found.items() if barred} == ALLOWED


def test_every_lock_of_the_package_has_its_cases() -> None:
    assert {f"{name} {owner}" for name, tree in modules() for owner in locks_in(tree)} == set(LOCKS)
