"""A server that sends exactly the bytes of a script, and waits in the middle for what a test does."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

Script = Iterable[bytes | Callable[[], object]]
"""What is sent, piece by piece; functions are called in between. Then the connection is closed."""


def answer(body: bytes, *headers: str, status: int = 200, kind: str = "application/json") -> list[bytes]:
    """An answer with a length."""
    return [head(f"Content-Length: {len(body)}", *headers, status=status, kind=kind), body]


def head(*headers: str, status: int = 200, kind: str = "application/json") -> bytes:
    """The beginning of an answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


class Scripted:
    """Answers each path by its script; `seen` has the paths of all requests."""

    def __init__(self, scripts: dict[str, Callable[[], Script]]) -> None:
        self.scripts = scripts
        self.seen: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                path = self.rfile.readline().split()[1].decode()
                length = 0
                while line := self.rfile.readline().strip().lower():
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                self.rfile.read(length)
                outer.seen.append(path)
                for piece in outer.scripts[path]():
                    if isinstance(piece, bytes):
                        self.wfile.write(piece)
                    else:
                        piece()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # the client left early

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
