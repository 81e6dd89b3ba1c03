"""The test server in threads of this process: its routes, and the operations by which it is controlled."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Unpack

from onerefresh.testing import foreign
from onerefresh.testing.api_routes import LOGIN_PAGE, LOGIN_PATH, PREFIX, ApiRoutes
from onerefresh.testing.authority import Authority
from onerefresh.testing.control import Control
from onerefresh.testing.faults import Faults
from onerefresh.testing.gates import Gates
from onerefresh.testing.http import Drop, HttpServer, Request, Response, Upgrade
from onerefresh.testing.log import Counters, Log
from onerefresh.testing.settings import Mode, Options, Settings
from onerefresh.testing.token_routes import TokenRoutes

CONTROL_PATH = "/control"
CONTROL_HEADER = "Control-Key"
CARRIED_ERRORS = (ValueError, TypeError, TimeoutError)
"""Errors of an operation that reach the caller unchanged, also from another process."""


class AuthServer(Control):
    """A strict authorization server with an API, on loopback, in threads of this process.

    It serves from the moment it is made. The keyword arguments are the fields of `Settings`. Another process can
    control it, too: `RemoteServer(server.url, server.control_key)`.
    """

    def __init__(self, mode: Mode = "revoke_family", **options: Unpack[Options]) -> None:
        settings = Settings(mode=mode, **options)
        self._authority = Authority(settings)
        self._gates = Gates()
        self._faults = Faults()
        self._log = Log()
        self._reuse_expected = False
        self._api = ApiRoutes(self._authority, self._gates, self._log, settings.wanted)
        tokens = TokenRoutes(settings, self._authority, self._gates, self._faults, self._log)
        self._routes: dict[str, Callable[[Request, str | None], Response | Drop]] = {
            "/token": tokens.token,
            "/auth/refresh": tokens.json_refresh,
            "/revoke": tokens.revoke,
        }
        self._http = HttpServer(self._answer)
        self._foreign_http = HttpServer(self._answer_foreign)
        self._description = {
            "url": self._http.url,
            "foreign_url": self._foreign_http.url,
            "client_id": settings.client_id,
            "client_secret": settings.client_secret,
        }
        self._operations: dict[str, Callable[..., Any]] = {
            "describe": lambda: self._description,
            "issue": self._authority.issue,
            "hold": self._gates.hold,
            "release": self._gates.release,
            "wait_for": self._gates.wait_for,
            "delay": self._gates.delay,
            "fail": self._faults.add,
            "recover": self._faults.clear,
            "refuse_with": self._api.refuse_with,
            "revoke_access": self._authority.revoke_access,
            "revoke_family": self._authority.revoke_family,
            "expect_reuse": self._expect_reuse,
            "unannounced_reuse": self._unannounced_reuse,
            "counters": lambda: asdict(self._count()),
            "log": lambda: [asdict(entry) for entry in self._log.entries()],
            "sessions": self._authority.sessions,
        }
        super().__init__(self._description, secrets.token_urlsafe(24))

    def stop(self) -> None:
        self._gates.close()
        self._http.stop()
        self._foreign_http.stop()

    def _ask(self, operation: str, **arguments: Any) -> Any:
        if operation not in self._operations:
            raise ValueError(f"unknown operation {operation!r}: the server may be of another version")
        return self._operations[operation](**arguments)

    def _count(self) -> Counters:
        return Counters(
            token_requests=self._log.arrivals("token"),
            api=self._log.statuses("api"),
            foreign=self._log.arrivals("foreign"),
            **asdict(self._authority.tally()),
        )

    def _expect_reuse(self) -> None:
        self._reuse_expected = True

    def _unannounced_reuse(self) -> int:
        return 0 if self._reuse_expected else self._authority.tally().reuse_detected

    def _answer(self, request: Request) -> Response | Drop | Upgrade:
        if request.path == CONTROL_PATH:
            return self._controlled(request)
        call = request.header("x-call")
        if route := self._routes.get(request.path):
            return route(request, call)
        if request.path.startswith(PREFIX):
            return _guarded(lambda: self._api.answer(request, call))
        if request.path == LOGIN_PATH:
            return LOGIN_PAGE
        return Response(404, (("Content-Type", "text/plain"),), b"there is /token, /auth/refresh, /revoke and /api/\n")

    def _answer_foreign(self, request: Request) -> Response | Drop | Upgrade:
        return _guarded(lambda: foreign.answer(self._log, request, request.header("x-call")))

    def _controlled(self, request: Request) -> Response:
        key = request.header(CONTROL_HEADER.lower()) or ""
        if not hmac.compare_digest(key.encode(), self.control_key.encode()):
            return Response(403, (), f"the {CONTROL_HEADER} header is missing or wrong\n".encode())
        wish = json.loads(request.body)
        try:
            reply: dict[str, Any] = {"result": self._ask(wish["operation"], **wish["arguments"])}
        except CARRIED_ERRORS as problem:
            reply = {"error": type(problem).__name__, "message": str(problem)}
        return Response(200, (("Content-Type", "application/json"),), json.dumps(reply).encode())


def _guarded(answer: Callable[[], Response | Drop | Upgrade]) -> Response | Drop | Upgrade:
    """The answer, or a 400 that names the part of the query that makes no sense."""
    try:
        return answer()
    except ValueError as problem:
        return Response(400, (("Content-Type", "text/plain"),), f"{problem}\n".encode())
