"""Thousands of connections that wait for one record, as of so many machines: from the write until the last has heard.

Run as a program it holds a part of the connections.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.servers.postgres import PostgresServer
from tests.servers.valkey import Valkey

from bench.scale.places import Place
from bench.storm import Member
from bench.timing import percentile
from onerefresh.stores import open_store
from onerefresh.stores.postgres.sql import LISTEN_FOR, Statements
from onerefresh.stores.redis.address import PREFIX
from onerefresh.stores.redis.store import READ, RedisStore

__all__ = ["Woken", "line", "measure", "reads_a_second"]

CROWDS = 2
KEY = "shared"
BODY = "x" * 1_200
PIPE = 200


@dataclass(frozen=True, slots=True)
class Woken:
    """Seconds since the write began, for the median of the rounds. `bytes_each`: of the server, for a connection."""

    name: str
    connections: int
    written: float
    half: float
    last: float
    bytes_each: float


def measure(place: Place, connections: int, rounds: int) -> Woken:
    store = open_store(place.url)
    present = store.load(KEY)
    version = store.cas(KEY, present.version if present else None, BODY)
    empty = _memory(place)
    with ExitStack() as stack:
        job = {"server": _described(place), "connections": connections // CROWDS}
        crowds = [stack.enter_context(Member(job, "bench.scale.wakes")) for _ in range(CROWDS)]
        for crowd in crowds:
            assert crowd.heard() == "listening"
        each = (_memory(place) - empty) / (connections // CROWDS * CROWDS)
        seen: list[tuple[float, float, float]] = []
        for _ in range(rounds + 1):
            for crowd in crowds:
                crowd.tell(0)
                assert crowd.heard() == "waiting"
            began = time.monotonic_ns()
            version = store.cas(KEY, version, BODY)
            written = time.monotonic_ns()
            heard = [(at - began) / 1e9 for crowd in crowds for at in crowd.heard()]
            seen.append(((written - began) / 1e9, percentile(heard, 0.5), max(heard)))
        store.close()
    written, half, last = (statistics.median(figures) for figures in zip(*seen[1:], strict=True))
    return Woken(place.name, len(heard), written, half, last, each)


def line(found: Woken) -> list[str]:
    return [
        found.name,
        f"{found.connections:,}",
        f"{found.written * 1e3:.0f} ms",
        f"{found.half * 1e3:.0f} ms",
        f"{found.last * 1e3:.0f} ms",
        f"{found.bytes_each / 1024:,.0f} KiB",
    ]


def reads_a_second(place: Place, seconds: float) -> float:
    """How many loads of one record one Redis server answers, which are sent one upon the other."""
    server = place.server
    assert isinstance(server, Valkey)
    store = RedisStore(server.url)
    store.cas(KEY, None, BODY)
    store.load(KEY)
    store.close()
    with server.client(decode_responses=False) as client:
        connection = client.connection_pool.get_connection()
        packed = b"".join(connection.pack_command(*READ.call(f"{PREFIX}{{{KEY}}}".encode()))) * PIPE
        answered = 0
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            connection.send_packed_command([packed])
            for _ in range(PIPE):
                connection.read_response(disable_decoding=True)
            answered += PIPE
        return answered / (time.perf_counter() - began)


def _described(place: Place) -> dict[str, Any]:
    match place.server:
        case Valkey() as server:
            return {"port": server.port, "channel": f"{PREFIX}{{{KEY}}}"}
        case PostgresServer() as server:
            channel = Statements().channel(KEY)
            return {"url": server.url, "listen": LISTEN_FOR.format(name=channel.name, lock=channel.lock)}
    raise ValueError(f"{place.name} has no server that tells of changes")


def _memory(place: Place) -> int:
    match place.server:
        case Valkey() as server:
            return int(server.do("INFO", "memory")["used_memory"])
        case PostgresServer() as server:
            return sum(_proportional_bytes(pid) for pid in server.processes())
    return 0


def _proportional_bytes(pid: int) -> int:
    """The memory of a process, and its share of what it shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


class Ear(Protocol):
    """One connection that listens."""

    def fileno(self) -> int: ...

    def read(self) -> bool:
        """Whether what has come tells of the change."""


class RedisEar:
    def __init__(self, port: int, channel: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(f"SUBSCRIBE {channel}\r\n".encode())
        assert b"subscribe" in self._socket.recv(4096)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> bool:
        return b"message" in self._socket.recv(4096)


class PostgresEar:
    def __init__(self, url: str, listen: str) -> None:
        from psycopg import pq

        self._link = pq.PGconn.connect(url.encode())
        answer = self._link.exec_(listen.encode())
        assert answer.status == pq.ExecStatus.TUPLES_OK, answer.error_message

    def fileno(self) -> int:
        return self._link.socket

    def read(self) -> bool:
        self._link.consume_input()
        return self._link.notifies() is not None


def take_part() -> None:
    job = json.loads(sys.stdin.readline())
    server, ears = job["server"], list[Ear]()
    for _ in range(job["connections"]):
        ears.append(RedisEar(**server) if "port" in server else PostgresEar(**server))
    by_number = {ear.fileno(): ear for ear in ears}
    selector = selectors.DefaultSelector()
    for number in by_number:
        selector.register(number, selectors.EVENT_READ)
    print(json.dumps("listening"), flush=True)
    for _ in sys.stdin:
        print(json.dumps("waiting"), flush=True)
        heard: list[int] = []
        while len(heard) < len(ears):
            for key, _mask in selector.select():
                if by_number[key.fd].read():
                    heard.append(time.monotonic_ns())
        print(json.dumps(heard), flush=True)


if __name__ == "__main__":
    take_part()
