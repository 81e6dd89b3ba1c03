"""A real PgBouncer in transaction mode for tests, where the machine has one: there is no wheel of it.

with PgBouncer(server.port) as pooler:
    psycopg.connect(pooler.url)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psycopg
from tests.servers.postgres import NOBODY, PATIENCE, end_with_parent, free_port, until

USER, PASSWORD = "postgres", "secret-of-the-pooler"


def program() -> str | None:
    """Where PgBouncer is; None where it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class PgBouncer:
    """One pooler between loopback and the server on `port`, with at most `size` connections to it.

    `settings`: more lines of its configuration.
    """

    def __init__(self, port: int, *settings: str, size: int = 2) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="onerefresh-pgbouncer-"))
        self._users, self._config = self.home / "users", self.home / "config"
        self._users.write_text(f'"{USER}" "{PASSWORD}"\n')
        self._process: subprocess.Popen[bytes] | None = None
        try:
            for left in reversed(range(5)):
                self._configure(port, settings, size)
                try:
                    self.start()
                    break
                except RuntimeError as error:  # another program got the port meanwhile
                    if not left or "Address already in use" not in str(error):
                        raise
        except BaseException:
            self.__exit__()
            raise

    def _configure(self, port: int, settings: Sequence[str], size: int) -> None:
        """Choose a port, and write the configuration."""
        self.port = free_port()
        lines = [
            "[databases]",
            f"postgres = host=127.0.0.1 port={port}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = scram-sha-256",
            f"auth_file = {self._users}",
            "pool_mode = transaction",
            f"default_pool_size = {size}",
            "max_client_conn = 200",
            *settings,
        ]
        self._config.write_text("\n".join([*lines, ""]))
        if NOBODY is not None:
            for path in (self.home, self._users, self._config):
                os.chown(path, NOBODY, NOBODY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it lets somebody through."""
        found = program()
        assert found is not None
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [found, self._config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=NOBODY,
                group=NOBODY,
                extra_groups=[] if NOBODY is not None else None,
                preexec_fn=end_with_parent,
            )
        until(self._answers)

    def stop(self) -> None:
        """End it at once: those who are connected are cut off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the pooler ended: {(self.home / 'log').read_text('utf-8', 'replace')}")
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True
