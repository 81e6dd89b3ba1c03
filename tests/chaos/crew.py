"""Processes that share one credential in one place, beside a server of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.chaos.network import Network
from tests.chaos.place import KEY, Place
from tests.chaos.worker import Settings, work
from tests.servers.relay import Relay

from onerefresh import Credential
from onerefresh.testing import RemoteServer

__all__ = ["Crew", "Member", "start_forks"]

PATIENCE = 60.0
"""Seconds after which something that was to happen is given up."""
SIZE = 8
GRACE = 600.0

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        "tests.chaos.worker",
        "onerefresh.stores.sqlite",
        *(["onerefresh.stores.redis", "redis"] if find_spec("redis") else []),
        *(["onerefresh.stores.postgres.store"] if find_spec("psycopg") else []),
    ]
)


def start_forks() -> None:
    """Start the process that all others are forked from, with everything imported."""
    forkserver.ensure_running()


@dataclass
class Member:
    """One process, and what it has told since the round began."""

    pipe: connection.Connection
    process: Any
    host: int = 0
    at: str | None = None
    is_ready: bool = False
    has_ended: bool = False
    calls: int = 0
    called: list[tuple[int, int, float]] = field(default_factory=list)  # status, generation, seconds
    failed: list[tuple[str, str]] = field(default_factory=list)  # the error and what it says
    events: list[tuple[str, str | None, str]] = field(default_factory=list)  # kind, attempt, detail

    @property
    def is_done(self) -> bool:
        return self.has_ended or len(self.called) + len(self.failed) == self.calls

    def begin(self) -> None:
        self.at, self.calls = None, 0
        self.called, self.failed, self.events = [], [], []

    def tell(self, *what: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has died: the other direction of the pipe says so
            self.pipe.send(what)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.events]

    def take(self, message: tuple[Any, ...]) -> None:
        kind, *what = message
        if kind == "at":
            (self.at,) = what
        elif kind == "ready":
            self.is_ready = True
        else:
            told: dict[str, list[Any]] = {"event": self.events, "called": self.called, "failed": self.failed}
            told[kind].append(tuple(what))


class Crew:
    """Some processes on a place, and the server that they refresh at; `has_grace` says of which kind that is.

    `network`: they are spread over its hosts, each with a state folder of its own, and the server among its servers.
    """

    def __init__(
        self, folder: Path, place: Place, *, has_grace: bool, size: int = SIZE, network: Network | None = None
    ) -> None:
        self.has_grace, self.place, self.network = has_grace, place, network
        self._folder, self._size = folder, size
        self._relay: Relay | None = None
        if has_grace:
            self.server = RemoteServer.start(mode="grace", grace=GRACE)
        else:
            self.server = RemoteServer.start(mode="revoke_family")
            self.server.expect_reuse()
        self.members: list[Member] = []
        try:
            self.log_in()
            place.watch()
            self.complete()
        except BaseException:
            self.close()
            raise

    def _settings(self, host: int) -> Settings:
        refresh_url, api_url = self.server.json_refresh_url, f"{self.server.api_url}/thing"
        if self.network is not None:
            port = urlsplit(self.server.url).port
            assert port is not None
            self._relay = self._relay or Relay(port, host=self.network.address)
            reached = self._relay.address
            refresh_url, api_url = (url.replace(f"127.0.0.1:{port}", reached) for url in (refresh_url, api_url))
        return Settings(
            store=self.place.url,
            state=str(self._folder / f"state-{host}"),
            refresh_url=refresh_url,
            api_url=api_url,
            profile=f"grace:{GRACE:.0f}" if self.has_grace else "strict",
            http_timeout=self.place.http_timeout,
            time_to_live=self.place.time_to_live,
            store_timeout=self.place.store_timeout,
            network=self.network.files[host] if self.network else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for member in self.members:
            if not member.has_ended:
                member.process.kill()
            self._bury(member)
        if self._relay is not None:
            self._relay.close()
        self.server.stop()

    def spooled(self) -> list[Path]:
        """The tokens that wait in files of the hosts."""
        return sorted(self._folder.glob("state-*/spool/*.json"))

    def log_in(self) -> None:
        """What a person does when the session is lost."""
        with Credential(KEY, lambda token: token, store=self.place.url) as credential:
            credential.login(self.server.issue())

    def complete(self) -> None:
        """New processes for those that are gone."""
        for member in [member for member in self.members if member.has_ended]:
            self.members.remove(member)
            self._bury(member)
        while len(self.members) < self._size:
            hosts = len(self.network.files) if self.network else 1
            host = min(range(hosts), key=[member.host for member in self.members].count)
            ours, theirs = _forks.Pipe()
            process = _forks.Process(target=work, args=(self._settings(host), theirs, ours))
            process.start()
            theirs.close()
            self.members.append(Member(ours, process, host))

    def _bury(self, member: Member) -> None:
        member.process.join(PATIENCE)
        member.process.close()
        member.pipe.close()

    def call(self, count: int) -> None:
        """Each of them makes `count` calls at once."""
        for _ in range(count):
            for member in self.members:
                member.calls += 1
                member.tell("call")

    def arm(self, members: list[Member], point: str | None) -> None:
        """From when this returns, they stand still at this point and at no other; None: nowhere."""
        self._ask(members, "arm", point)

    def settle(self) -> None:
        """From when this returns, nobody has anything left to do: a process that is stopped then is in nobody's way."""
        self._ask(self.members, "settle")

    def _ask(self, members: list[Member], *what: object) -> None:
        for member in members:
            member.is_ready = False
            member.tell(*what)
        self.until(lambda: all(member.is_ready or member.has_ended for member in members), "ready")

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Hear what they tell until `is_so`."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            living = {member.pipe: member for member in self.members if not member.has_ended}
            ready = connection.wait(living, max(deadline - time.monotonic(), 0.0))
            if not ready:
                raise AssertionError(f"not {what}: {self.members}")
            for pipe in ready:
                member = living[pipe]  # type: ignore[index]  # `wait` returns what it was given
                try:
                    member.take(member.pipe.recv())
                except (EOFError, ConnectionResetError):
                    member.has_ended = True
