"""A TCP proxy between a client and a server, which can lose what goes one way or the other."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self


class Proxy:
    """Listens on loopback and passes everything on to `port`.

    `down`: refuses and cuts all connections. `lose`: what is to happen to a request that holds this text: its
    connection is cut before ("request") or after ("answer") the server got it; once.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.down = False
        self._lose: tuple[bytes, str, Callable[[], object]] | None = None
        self.lost = 0
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The thread ends before the descriptor may be another's: it would take that one's connections.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.cut()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Nobody gets through."""
        self.down = True
        self.cut()
        try:
            yield
        finally:
            self.down = False

    def lose(self, which: str, *, of: bytes, then: Callable[[], object] = lambda: None) -> None:
        """Lose the next request that holds the text `of`, or the answer to it; do `then` before anybody hears of it."""
        self._lose = (of, which, then)

    def hang(self, *, of: bytes, then: Callable[[], object]) -> None:
        """Do `then` before the next request that holds the text `of` is passed on."""
        self._lose = (of, "nothing", then)

    def lead_to(self, port: int) -> None:
        """From now on it leads to another server, as a name does after a failover."""
        self._upstream = port
        self.cut()

    def cut_off(self) -> None:
        """From now on nobody gets through."""
        self.down = True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except ConnectionRefusedError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            if self.down:
                self.cut()
            pair = _Pair(self, client, server)
            threading.Thread(target=pair.up, daemon=True).start()
            threading.Thread(target=pair.back, daemon=True).start()

    def verdict(self, data: bytes) -> tuple[str, Callable[[], object]]:
        """What is to be lost of this request: "request", "answer" or nothing; and what is to be done then."""
        with self._lock:
            if self._lose is not None and self._lose[0] in data:
                _, which, then = self._lose
                self._lose = None
                self.lost += 1
                return which, then
        return "", lambda: None

    def forget(self, *sockets: socket.socket) -> None:
        with self._lock:
            for one in sockets:
                self._open.discard(one)
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


class _Pair:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._answer_lost = threading.Event()

    def up(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(1 << 20):
                verdict, self._then = self._proxy.verdict(data)
                if verdict == "request":
                    self._then()
                    break
                if verdict == "nothing":
                    self._then()
                if verdict == "answer":
                    self._answer_lost.set()
                self._server.sendall(data)
        if not self._answer_lost.is_set():
            self._proxy.forget(self._client, self._server)

    def back(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(1 << 20):
                if self._answer_lost.is_set():
                    self._then()
                    break
                self._client.sendall(data)
        self._proxy.forget(self._client, self._server)
        self._client.close()
        self._server.close()
