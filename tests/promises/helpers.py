"""Many callers at once: in threads, in tasks and in other processes; and a store that can be held and switched off."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from onerefresh import Store, StoreUnavailable, Token
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.store import Conflict, Versioned
from onerefresh.testing import AuthServer

T = TypeVar("T")
PATIENCE = 20.0
"""Seconds after which something that was to happen is given up."""
ROOT = Path(__file__).parents[2]


def endpoint(server: AuthServer) -> TokenEndpoint:
    return TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret)


def at_once(functions: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """What they return or raise, each on a thread of its own; all begin at the same moment."""
    barrier = threading.Barrier(len(functions))

    def tried(function: Callable[[], T]) -> T | Exception:
        barrier.wait(PATIENCE)
        try:
            return function()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            return error

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(tried, functions, timeout=PATIENCE))


def generations(told: Sequence[Token | Exception]) -> set[int | str]:
    """The generations of the tokens, and the names of the errors."""
    return {one.generation if isinstance(one, Token) else type(one).__name__ for one in told}


class Kept(Store):
    """A store of one's own, in a dict. `is_down`: nothing works; `is_full`: it cannot be written.

    `uses`: how often each key was read or written.

    Whoever would write the text `held_at` stands there, after `reached`, until `go_on`. `waited`: somebody waits for a
    change. `beside`: the store that has the dict, for one more process of its users, as far as the library can tell.
    """

    name = "a dict"

    def __init__(self, beside: Kept | None = None) -> None:
        self.is_down = self.is_full = False
        self.held_at: str | None = None
        self.reached, self.go_on, self.waited = threading.Event(), threading.Event(), threading.Event()
        self.uses: Counter[str] = Counter()
        self.records: dict[str, Versioned] = beside.records if beside else {}
        self.lock: threading.Lock = beside.lock if beside else threading.Lock()

    def wait(self, key: str, version: str, timeout: float) -> None:
        self.waited.set()
        super().wait(key, version, timeout)

    def load(self, key: str) -> Versioned | None:
        self.uses[key] += 1
        if self.is_down:
            raise StoreUnavailable("it is switched off")
        return self.records.get(key)

    def cas(self, key: str, expected: str | None, body: str) -> str:
        self.uses[key] += 1
        if self.is_down or self.is_full:
            raise StoreUnavailable("it is full")
        if self.held_at is not None and self.held_at in body:
            self.reached.set()
            assert self.go_on.wait(PATIENCE)
        with self.lock:
            present = self.records.get(key)
            if (present.version if present else None) != expected:
                raise Conflict(key)
            version = str(int(expected or "0") + 1)
            self.records[key] = Versioned(version, body)
            return version


class Program:
    """`program` in a process of its own: it says that it is ready, and begins its task when it is told to."""

    def __init__(self, task: str, server: AuthServer, store: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.promises.program"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._say(
            json.dumps(
                {
                    "task": task,
                    "store": store,
                    "origin": server.url,
                    "token_url": server.token_url,
                    "client_id": server.client_id,
                    "client_secret": server.client_secret,
                }
            )
        )

    def _say(self, line: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(f"{line}\n")
        self._child.stdin.flush()

    def told(self) -> Any:
        """The next thing that it tells."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line, self._child.communicate()[1]
        return json.loads(line)

    def begin(self) -> Self:
        self._say("begin")
        return self

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._child.send_signal(signal.SIGINT)

    def end(self) -> None:
        """Wait for its end, which must be a good one."""
        _, said = self._child.communicate(timeout=PATIENCE)
        assert (self._child.returncode, said) == (0, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()


def began(programs: Sequence[Program]) -> Sequence[Program]:
    """Let them begin together, when each of them is ready."""
    for program in programs:
        assert program.told() == "ready"
    for program in programs:
        program.begin()
    return programs
