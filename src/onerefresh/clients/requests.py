"""requests: `BearerAuth` for a session or a call, and `BearerAdapter`, mounted on an origin.

session.auth = BearerAuth(credential, "https://api.example.com")
session.mount("https://api.example.com/", BearerAdapter(credential, "https://api.example.com"))
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any, Self

from onerefresh.clients.attach import Attach
from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import Calls
from onerefresh.clients.hiding import empty, mask
from onerefresh.clients.niquests_modes import is_of_niquests, refuse_niquests_modes
from onerefresh.clients.refused import RefusedBy
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError
from onerefresh.one_object import OneObject

try:
    from requests import PreparedRequest, Response
    from requests.adapters import BaseAdapter, HTTPAdapter
    from requests.auth import AuthBase, HTTPBasicAuth
    from requests.exceptions import RequestException
    from requests.utils import get_netrc_auth
except ModuleNotFoundError as error:
    if error.name != "requests":
        raise
    raise ConfigurationError("onerefresh.clients.requests needs requests: pip install 'onerefresh[requests]'") from None

from onerefresh.clients.requests_call import Call  # it needs requests, too, and so does the next one
from onerefresh.clients.requests_retries import refuse_hidden_refusals, session_of, that_returns_refusals

__all__ = ["BearerAdapter", "BearerAuth"]

APART_BELOW = "send that request by a plain session, as requests.post(url) does"
APART = f"{APART_BELOW}; auth=None would not help, since requests then takes the auth of the session"


class BearerAuth(OneObject, AuthBase):
    """Sends the token of `credential` to `origins` and nowhere else. A refused call waits for the next token, once.

    It is the ``auth`` of a session or of a call, and may serve many of them.

    * `scheme`: stands before the token (``""``: the bare token).
    * `attach`: how the API wants the token: a template such as ``'Token {token}'``, or a function; see `Attach`.
    * `replace`: the token replaces a header that the call brings, as calls of many SDKs do. By default such a call
      passes through, and the first one is the event ``not_attached``, a warning.
    * `refused_statuses`: the statuses by which this API refuses a token.
    * `refused`: rules about other answers that refuse it, from `onerefresh.clients.refused`.

    Raises `ConfigurationError` for arguments that make no sense, and for a token in a query or cookie, which requests
    would show in its errors, or lose with a redirect: `BearerAdapter` accepts that. Calls raise an `OnerefreshError`
    where no token is available.

    A ``~/.netrc`` that names the API's host replaces the token when requests follows a redirect, unless the session's
    ``trust_env`` is off. `BearerAdapter` is not affected.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        attach: Attach | None = None,
        replace: bool = False,
        refused_statuses: Collection[int] = UNAUTHORIZED,
        refused: RefusedBy = None,
    ) -> None:
        calls = Calls(
            credential,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            replace=replace,
            refused_statuses=refused_statuses,
            refused=refused,
            apart=APART,
        )
        self._call = Call(calls)
        if self._call.shown:
            raise ConfigurationError(
                f"requests would show {self._call.shown} in its errors, or lose it with a redirect: use BearerAdapter "
                "for it"
            )
        self._hook = _Hook(self._call)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if not hasattr(request, "hooks"):  # httpx takes any function for an auth, and would send its request as it is
            client = type(request).__module__.partition(".")[0]
            raise ConfigurationError(
                f"BearerAuth of onerefresh.clients.requests was given to a client of {client}: use the BearerAuth of "
                f"onerefresh.clients.{'httpx' if client == 'httpx2' else client}, if there is one"
            )
        if self._call.concerns(request, self._call.own(request)):
            session = session_of()
            if is_of_niquests(request):
                refuse_niquests_modes(session, has_rules=self._call.has_rules)
            refuse_hidden_refusals(request, session, self._call.statuses)
            self._call.attach(request)
            if self._hook not in request.hooks["response"]:
                request.hooks["response"].append(self._hook)
        return request


class _Hook:
    """requests calls this for the answer of every hop. A pickled request leaves it behind."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __call__(self, response: Response, **options: Any) -> Response:
        final = self._call.settle(response, lambda again: _sent(response.connection, again, **options))
        self._call.send_on(response.request, final)
        return final

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return (_hook_left_behind, ())


def _hook_left_behind() -> Callable[..., Response]:
    return _unhooked


def _unhooked(response: Response, **_: Any) -> Response:
    """Stands for `_Hook` in a request that was pickled, which goes on without its credential."""
    return response


def _sent(adapter: Any, request: PreparedRequest, *given: Any, **options: Any) -> Response:
    """Send the request. After a failure no frame keeps what was sent, since a traceback with locals would show it."""
    before = sys.exception()
    try:
        response: Response = adapter.send(request, *given, **options)
    except Exception as error:
        empty(error, before)
        raise
    return response


class BearerAdapter(OneObject, BaseAdapter):
    """As `BearerAuth`, for one origin's adapter: redirects and ``~/.netrc`` cannot affect it.

    ``session.mount("https://api.example.com/", BearerAdapter(credential, "https://api.example.com"))``.

    `adapter` sends the requests (default: an `HTTPAdapter`). The caller's request never holds the token, nor does the
    traceback of a call that fails, even where it shows the locals of its frames. So `attach` may be any, too:
    ``attach={"?key": "{token}"}`` puts the token into the query, ``{"cookie:session": "{token}"}`` into a cookie. A
    cookie of that name in the session is replaced.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        adapter: BaseAdapter | None = None,
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        attach: Attach | None = None,
        replace: bool = False,
        refused_statuses: Collection[int] = UNAUTHORIZED,
        refused: RefusedBy = None,
    ) -> None:
        super().__init__()
        calls = Calls(
            credential,
            origins,
            header=header,
            scheme=scheme,
            attach=attach,
            replace=replace,
            refused_statuses=refused_statuses,
            refused=refused,
            apart=APART_BELOW,
        )
        self._call = Call(calls)
        self._adapter = HTTPAdapter() if adapter is None else adapter
        if not isinstance(self._adapter, BaseAdapter):
            raise ConfigurationError(f"adapter must be an adapter of requests, not {type(adapter).__name__}")

    def send(  # noqa: PLR0917 - the signature is that of requests
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send the request with the token on a copy of it. The arguments are those of `HTTPAdapter.send`."""
        call = self._call
        own = call.own(request)
        if own is not None and own in request.headers and _from_netrc(request):
            own = None
        # A `BearerAuth` above this adapter has put a token there, and sees to it itself.
        if isinstance(call.held(request), HeaderText) or not call.concerns(request, own):
            return self._adapter.send(request, stream, timeout, verify, cert, proxies)

        adapter = that_returns_refusals(self._adapter, self._call.statuses)

        def beneath(sent: PreparedRequest) -> Response:
            try:
                return _sent(adapter, sent, stream, timeout, verify, cert, proxies)
            except Exception as error:
                if call.shown:
                    mask(error)
                    if isinstance(error, RequestException):
                        error.request = request
                raise

        sent = request.copy()
        text = call.attach(sent)
        response = call.settle(beneath(sent), beneath, text)
        if call.shown:
            for one in (response, *response.history):
                one.request, one.url = request, str(request.url)
        return response

    def close(self) -> None:
        """Close the adapter that sends."""
        self._adapter.close()


def _from_netrc(request: PreparedRequest) -> bool:
    """Whether the request's Authorization comes from ``~/.netrc``, and not from its caller."""
    found = get_netrc_auth(str(request.url))
    if found is None:
        return False
    probe = HTTPBasicAuth(*found)(request.copy())
    return bool(probe.headers.get("Authorization") == request.headers.get("Authorization"))
