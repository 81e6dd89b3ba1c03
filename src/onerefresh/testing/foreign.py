"""A second origin that must never receive a token. It records what it receives all the same."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

from onerefresh.testing.api_routes import challenge_named, redirect
from onerefresh.testing.http import Request, Response
from onerefresh.testing.log import Log, fingerprint


def answer(log: Log, request: Request, call: str | None) -> Response:
    """`/refused` answers 401, `/redirect?to=URL&status=307` redirects, any other path answers 200."""
    arrival = log.arrive("foreign", request.method, request.path, call)
    authorization = request.header("authorization")
    presented = _token_anywhere(request)
    if presented is None and authorization is not None:
        presented = authorization.partition(" ")[2] or authorization
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


def _token_anywhere(request: Request) -> str | None:
    """The first access token of a test server in the headers or the address, wherever it stands."""
    headers = [value for values in request.headers.values() for value in values]
    for text in (*headers, unquote(f"{request.path}?{request.query_string}"), unquote(unquote(request.query_string))):
        if (found := _TOKEN.search(text)) is not None:
            return found[0]
    return None


_TOKEN = re.compile(r"test-access-[\w-]+")
