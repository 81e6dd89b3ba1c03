"""An origin that notes headers and target of each request, for what the authorization server does not look at."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


class Recorder:
    """``/redirect?to=URL`` and ``/moved`` (to `moved_to`) redirect, other paths answer 200.

    ``/made`` answers 201 with `moved_to` as its ``Location``.
    ``/refuse-until?text=…`` wants that text in a header, ``/refuse-first`` answers 401 the first time, and
    ``/set-cookie?is=…`` sets that cookie.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.targets: list[str] = []
        self.moved_to = ""
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.seen.append(headers)
                recorder.targets.append(self.path)
                split = urlsplit(self.path)
                query = parse_qs(split.query)
                status, extra = 200, {}
                if split.path == "/redirect":
                    status, extra = 307, {"Location": query["to"][0]}
                elif split.path in ("/moved", "/made"):
                    status, extra = 302 if split.path == "/moved" else 201, {"Location": recorder.moved_to}
                elif split.path == "/refuse-until":
                    status = 200 if query["text"][0] in headers.values() else 401
                elif split.path == "/refuse-first":
                    status = 401 if len(recorder.targets) == 1 else 200
                elif split.path == "/set-cookie":
                    extra = {"Set-Cookie": query["is"][0]}
                self.send_response(status)
                for name, value in {**extra, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def values(self, header: str) -> list[str | None]:
        """What each request had in that header, in their order."""
        return [headers.get(header.lower()) for headers in self.seen]

    def shows(self, text: str) -> bool:
        """Whether any request had the text in any header, or in its target."""
        headers = [value for headers in self.seen for value in headers.values()]
        return any(text in value for value in (*headers, *self.targets))

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
