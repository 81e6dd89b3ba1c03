"""The authorization server's routes: `/token` (RFC 6749), `/auth/refresh` (plain JSON), `/revoke` (RFC 7009)."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qsl

from onerefresh.testing.authority import Authority, Issued, Refused
from onerefresh.testing.client_auth import authenticate
from onerefresh.testing.faults import Fault, Faults
from onerefresh.testing.gates import Gates
from onerefresh.testing.http import Drop, Request, Response
from onerefresh.testing.log import Arrival, Log
from onerefresh.testing.settings import Settings

Parameters = dict[str, str]
Decision = Issued | Refused

_NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))
_FORM = "application/x-www-form-urlencoded"


class TokenRoutes:
    """Turns requests into decisions of the authority, and decisions into answers."""

    def __init__(self, settings: Settings, authority: Authority, gates: Gates, faults: Faults, log: Log) -> None:
        self._settings = settings
        self._authority = authority
        self._gates = gates
        self._faults = faults
        self._log = log

    def token(self, request: Request, call: str | None) -> Response | Drop:
        """The standard token endpoint."""
        arrival = self._log.arrive("token", request.method, request.path, call)
        parameters, problem = self._form(request)
        presented = parameters.get("refresh_token")
        return self._decide(arrival, presented, problem, lambda: self._grant(parameters), _oauth_error)

    def json_refresh(self, request: Request, call: str | None) -> Response | Drop:
        """A refresh as in many APIs without OAuth: JSON in, JSON out, and no client."""
        arrival = self._log.arrive("token", request.method, request.path, call)
        presented, problem = _json_refresh_token(request)
        return self._decide(arrival, presented, problem, lambda: self._authority.refresh(presented or ""), _json_error)

    def revoke(self, request: Request, call: str | None) -> Response | Drop:
        """The revocation endpoint (RFC 7009)."""
        arrival = self._log.arrive("revoke", request.method, request.path, call)
        parameters, problem = self._form(request)
        token = parameters.get("token")
        if problem is None and token is None:
            problem = Refused("invalid_request", "token is missing")
        self._gates.pass_through("revoke")
        if problem is not None or token is None:
            assert problem is not None
            response = _oauth_error(problem)
            self._log.finish(arrival, problem.error, response.status, presented=token)
            return response
        generation = self._authority.generation_of(token)
        self._authority.revoke(token)
        self._log.finish(arrival, "revoked", 200, presented=token, generation=generation)
        return Response(200, _NO_STORE)

    def _decide(
        self,
        arrival: Arrival,
        presented: str | None,
        problem: Refused | None,
        decide: Callable[[], Decision],
        error: Callable[[Refused], Response],
    ) -> Response | Drop:
        self._gates.pass_through("token")
        if fault := self._faults.take(after_rotating=False):
            return self._fail(arrival, fault, presented)
        decision = problem or decide()
        if isinstance(decision, Refused):
            response = error(decision)
            outcome = "reuse" if decision.reuse else decision.error
            generation = None if presented is None else self._authority.generation_of(presented)
            self._log.finish(arrival, outcome, response.status, presented=presented, generation=generation)
            return response
        self._gates.pass_through("token_sent")
        issued = str(decision.answer["access_token"])
        if fault := self._faults.take(after_rotating=True):
            return self._fail(arrival, fault, presented, issued, decision.generation)
        outcome = "reissued" if decision.again else "issued"
        self._log.finish(arrival, outcome, 200, presented=presented, issued=issued, generation=decision.generation)
        return _json(200, decision.answer)

    def _fail(
        self,
        arrival: Arrival,
        fault: Fault,
        presented: str | None,
        issued: str | None = None,
        generation: int | None = None,
    ) -> Response | Drop:
        outcome = "lost" if fault.status is None and issued is not None else "failed"
        self._log.finish(arrival, outcome, fault.status, presented=presented, issued=issued, generation=generation)
        if fault.status is None:
            return Drop()
        return Response(fault.status, fault.headers, fault.body)

    def _grant(self, parameters: Parameters) -> Decision:
        scope = parameters.get("scope")
        match parameters.get("grant_type"):
            case None:
                return Refused("invalid_request", "grant_type is missing")
            case "refresh_token":
                token = parameters.get("refresh_token")
                if token is None:
                    return Refused("invalid_request", "refresh_token is missing")
                return self._authority.refresh(token, scope)
            case "client_credentials":
                if self._settings.client_secret is None:
                    return Refused("unauthorized_client", "a public client cannot use client_credentials")
                return self._authority.client_credentials(scope)
            case _:
                return Refused("unsupported_grant_type", "use refresh_token or client_credentials")

    def _form(self, request: Request) -> tuple[Parameters, Refused | None]:
        """The form's parameters, and what is wrong with the request or its client."""
        if request.method != "POST":
            return {}, Refused("method_not_allowed", "use POST")
        if request.query_string:
            return {}, Refused("invalid_request", "parameters belong in the body, never in the URI")
        content_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
        if content_type != _FORM:
            return {}, Refused("invalid_request", f"the body must be {_FORM}")
        try:
            pairs = parse_qsl(
                request.body.decode(), keep_blank_values=True, strict_parsing=bool(request.body), errors="strict"
            )
        except ValueError:
            return {}, Refused("invalid_request", "the body is not a valid form")
        # Parameters without a value count as omitted (RFC 6749 section 3.2).
        parameters = {name: value for name, value in pairs if value}
        if len({name for name, _ in pairs}) < len(pairs):
            return parameters, Refused("invalid_request", "a parameter is given twice")
        if len(request.headers.get("authorization", [])) > 1:
            return parameters, Refused("invalid_request", "there are two Authorization headers")
        problem = authenticate(self._settings, request.header("authorization"), parameters)
        return parameters, Refused(problem.error, problem.description) if problem else None


def _json_refresh_token(request: Request) -> tuple[str | None, Refused | None]:
    if request.method != "POST":
        return None, Refused("method_not_allowed", "use POST")
    try:
        token = json.loads(request.body)["refresh_token"]
    except (ValueError, KeyError, TypeError):
        token = None
    if not isinstance(token, str):
        return None, Refused("invalid_request", 'the body must be JSON: {"refresh_token": "..."}')
    return token, None


def _json(status: int, content: dict[str, object], *headers: tuple[str, str]) -> Response:
    return Response(status, (("Content-Type", "application/json"), *_NO_STORE, *headers), json.dumps(content).encode())


def _oauth_error(problem: Refused) -> Response:
    """An error answer of RFC 6749 section 5.2."""
    content: dict[str, object] = {"error": problem.error, "error_description": problem.description}
    match problem.error:
        case "invalid_client":
            return _json(401, content, ("WWW-Authenticate", 'Basic realm="token"'))
        case "method_not_allowed":
            return _json(405, content, ("Allow", "POST"))
        case _:
            return _json(400, content)


def _json_error(problem: Refused) -> Response:
    content: dict[str, object] = {"code": problem.error, "detail": problem.description}
    match problem.error:
        case "invalid_grant":
            return _json(401, {**content, "code": "token_not_valid"})
        case "method_not_allowed":
            return _json(405, content, ("Allow", "POST"))
        case _:
            return _json(400, content)
