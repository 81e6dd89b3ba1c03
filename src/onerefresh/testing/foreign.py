"""A second origin that must never receive a token. It records what it receives all the same."""

from __future__ import annotations

import json

from onerefresh.testing.api_routes import challenge_named, redirect
from onerefresh.testing.http import Request, Response
from onerefresh.testing.log import Log, fingerprint


def answer(log: Log, request: Request, call: str | None) -> Response:
    """`/refused` answers 401, `/redirect?to=URL&status=307` redirects, any other path answers 200."""
    arrival = log.arrive("foreign", request.method, request.path, call)
    authorization = request.header("authorization")
    presented = None if authorization is None else authorization.partition(" ")[2] or authorization
    match request.path:
        case "/refused":
            response = challenge_named(request.query.get("challenge", "invalid_token"))
        case "/redirect":
            response = redirect(request)
        case _:
            body = {"path": request.path, "method": request.method, "authorization": fingerprint(presented)}
            response = Response(200, (("Content-Type", "application/json"),), json.dumps(body).encode())
    log.finish(arrival, "seen", response.status, presented=presented)
    return response
