"""The API that requires a bearer token (RFC 6750): echo, redirects, streams, refusals of every shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from onerefresh.testing.authority import Authority
from onerefresh.testing.gates import Gates
from onerefresh.testing.http import Drop, Request, Response, Upgrade
from onerefresh.testing.log import Arrival, Log
from onerefresh.testing.wanted import Doubled, Wanted
from onerefresh.testing.websocket import echo, upgrade_headers

PREFIX = "/api/"

_JSON = ("Content-Type", "application/json")
_INVALID_TOKEN = 'Bearer realm="api", error="invalid_token", error_description="the access token is not valid"'
_ERROR_BODY = b'{"error": "invalid_token"}'


def _refusal(status: int, *headers: tuple[str, str], body: bytes = _ERROR_BODY) -> Response:
    return Response(status, (_JSON, *headers), body)


LOGIN_PATH = "/login"
LOGIN_PAGE = Response(200, (("Content-Type", "text/html"),), b"<html><body>Please log in</body></html>")

CHALLENGES: dict[str, Response] = {
    "invalid_token": _refusal(401, ("WWW-Authenticate", _INVALID_TOKEN)),
    "none": _refusal(401),
    "bare": _refusal(401, ("WWW-Authenticate", "Bearer")),
    "basic": _refusal(401, ("WWW-Authenticate", 'Basic realm="api"')),
    "negotiate": _refusal(401, ("WWW-Authenticate", "Negotiate")),
    "basic_and_bearer": _refusal(
        401, ("WWW-Authenticate", 'Basic realm="api"'), ("WWW-Authenticate", 'Bearer error="invalid_token"')
    ),
    "use_dpop_nonce": _refusal(
        401, ("WWW-Authenticate", 'DPoP error="use_dpop_nonce"'), ("DPoP-Nonce", "a-nonce-of-the-api")
    ),
    "insufficient_user_authentication": _refusal(
        401,
        ("WWW-Authenticate", 'Bearer error="insufficient_user_authentication", acr_values="strong", max_age="5"'),
    ),
    "insufficient_claims": _refusal(
        401, ("WWW-Authenticate", 'Bearer error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="')
    ),
    "proxy": _refusal(407, ("Proxy-Authenticate", 'Basic realm="proxy"')),
    "forbidden": _refusal(403, ("WWW-Authenticate", 'Bearer error="insufficient_scope", scope="admin"')),
    "bad_request": _refusal(400),
    "ok_with_error": _refusal(200),
    "login_page": LOGIN_PAGE,
    "login_redirect": Response(302, (("Location", LOGIN_PATH),)),
    "code_in_403": _refusal(403, body=b'{"code": "TOKEN_EXPIRED"}'),
    "other_403": _refusal(403, body=b'{"code": "FORBIDDEN"}'),
    "code_in_400": _refusal(400, body=b'{"error": {"type": "OAuthException", "code": 190}}'),
    "slack": _refusal(200, body=b'{"ok": false, "error": "token_expired"}'),
    "graphql": _refusal(200, body=b'{"errors": [{"message": "no", "extensions": {"code": "UNAUTHENTICATED"}}]}'),
    "graphql_with_data": _refusal(
        200,
        body=b'{"data": {"done": {"id": 1}, "me": null}, '
        b'"errors": [{"path": ["me"], "extensions": {"code": "UNAUTHENTICATED"}}]}',
    ),
}
"""The shapes of a refused call, by name."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """The caller: the token's text, and whether it is valid now."""

    token: str | None
    valid: bool
    generation: int | None


class ApiRoutes:
    """Checks the token of every call under `/api/`, then answers as the path and the query ask."""

    def __init__(self, authority: Authority, gates: Gates, log: Log, wanted: Wanted) -> None:
        self._authority = authority
        self._wanted = wanted
        self._gates = gates
        self._log = log
        self._challenge = "invalid_token"
        self._routes: dict[str, Callable[[Request, _Caller], Response | Upgrade]] = {
            "redirect": lambda request, _: redirect(request),
            "stream": self._stream,
            "events": self._events,
            "status": _status,
            "websocket": _websocket,
        }

    def refuse_with(self, challenge: str) -> None:
        """Choose the shape of future refusals."""
        challenge_named(challenge)
        self._challenge = challenge

    def answer(self, request: Request, call: str | None) -> Response | Drop | Upgrade:
        arrival = self._log.arrive("api", request.method, request.path, call)
        self._gates.pass_through("api")
        try:
            token = self._wanted.token_in(request)
        except Doubled:
            return self._finish(arrival, _Caller(None, False, None), "refused", _refusal(400))
        query = request.query
        if "seconds" in query:
            self._gates.pause(float(query["seconds"]))
        caller = self._caller(token)
        route = request.path.removeprefix(PREFIX).partition("/")[0]
        if not caller.valid or route == "refused":
            self._gates.pass_through("refusal")
            return self._finish(arrival, caller, "refused", self._refused(caller, query))
        self._gates.accepted()
        response = self._routes.get(route, _echo)(request, caller)
        return self._finish(arrival, caller, "accepted", response)

    def _finish(
        self, arrival: Arrival, caller: _Caller, outcome: str, response: Response | Upgrade
    ) -> Response | Upgrade:
        status = response.status if isinstance(response, Response) else 101
        self._log.finish(arrival, outcome, status, presented=caller.token, generation=caller.generation)
        return response

    def _caller(self, token: str | None) -> _Caller:
        if token is None:
            return _Caller(None, False, None)
        checked = self._authority.check(token)
        return _Caller(token, checked.valid, checked.generation)

    def _refused(self, caller: _Caller, query: dict[str, str]) -> Response:
        name = query.get("challenge", self._challenge)
        if caller.token is None and name == "invalid_token":
            name = "bare"  # RFC 6750 section 3.1: no error code for a request without authentication
        refusal = challenge_named(name)
        if "bytes" in query:
            return Response(refusal.status, refusal.headers, b" " * int(query["bytes"]))
        return refusal

    def _stream(self, request: Request, _: _Caller) -> Response:
        return Response(200, (("Content-Type", "text/plain"),), self._pieces(request, "chunk {}\n"))

    def _events(self, request: Request, _: _Caller) -> Response:
        return Response(200, (("Content-Type", "text/event-stream"),), self._pieces(request, "data: {}\n\n"))

    def _pieces(self, request: Request, form: str) -> Iterator[bytes]:
        count, pause = int(request.query.get("count", "3")), float(request.query.get("pause", "0"))

        def pieces() -> Iterator[bytes]:
            for number in range(1, count + 1):
                if number > 1:
                    self._gates.pause(pause)
                yield form.format(number).encode()

        return pieces()


_OF_REDIRECT = frozenset({"to", "status", "copy"})


def redirect(request: Request) -> Response:
    """Answer `?to=URL&status=307` with that redirect; with `&copy=yes` the call's other parameters go along."""
    target = request.query.get("to", "")
    if not target.isascii() or not target.isprintable() or not target:
        raise ValueError("give the target, percent-encoded: ?to=URL")
    if "copy" in request.query:
        pieces = [piece for piece in request.query_string.split("&") if piece.partition("=")[0] not in _OF_REDIRECT]
        target = f"{target}{'&' if '?' in target else '?'}{'&'.join(pieces)}"
    return Response(int(request.query.get("status", "307")), (("Location", target),))


def challenge_named(name: str) -> Response:
    if name not in CHALLENGES:
        raise ValueError(f"unknown challenge {name!r}: use one of {', '.join(CHALLENGES)}")
    return CHALLENGES[name]


def _echo(request: Request, caller: _Caller) -> Response:
    received = {
        "path": request.path,
        "query": request.query_string,
        "method": request.method,
        "content_type": request.header("content-type"),
        "body_length": len(request.body),
        "body_sha256": hashlib.sha256(request.body).hexdigest(),
        "generation": caller.generation,
    }
    return Response(200, (_JSON,), json.dumps(received).encode())


def _status(request: Request, _: _Caller) -> Response:
    """Answer `/api/status/503` with that status."""
    code = request.path.rpartition("/")[2]
    if not code.isdigit() or not 200 <= int(code) <= 599:
        raise ValueError("give a status: /api/status/503")
    return Response(int(code), (_JSON,), b"{}")


def _websocket(request: Request, _: _Caller) -> Response | Upgrade:
    headers = upgrade_headers(request)
    return Upgrade(headers, echo) if headers else _refusal(426, ("Upgrade", "websocket"), body=b"{}")
