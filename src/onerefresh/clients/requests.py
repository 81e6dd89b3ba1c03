"""requests: `BearerAuth` for a session or a call, and `BearerAdapter`, mounted on an origin.

session.auth = BearerAuth(credential, "https://api.example.com")
session.mount("https://api.example.com/", BearerAdapter(credential, "https://api.example.com"))
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from traceback import clear_frames
from typing import Any, Self
from urllib.parse import urljoin

from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import LONGEST_REFUSAL, Calls
from onerefresh.clients.replay import rewind
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError

try:
    from requests import PreparedRequest, Response
    from requests.adapters import BaseAdapter, HTTPAdapter
    from requests.auth import AuthBase, HTTPBasicAuth
    from requests.models import REDIRECT_STATI
    from requests.sessions import SessionRedirectMixin
    from requests.utils import get_netrc_auth
except ModuleNotFoundError as error:
    if error.name != "requests":
        raise
    raise ConfigurationError("onerefresh.clients.requests needs requests: pip install 'onerefresh[requests]'") from None

__all__ = ["BearerAdapter", "BearerAuth"]


class _Call:
    """What both forms do with a request and its answer."""

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        header: str,
        scheme: str | None,
        refused_statuses: Collection[int],
    ) -> None:
        self._calls = Calls(credential, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)
        self._bearer = self._calls.bearer

    def covers(self, url: str | None) -> bool:
        """Whether requests to this URL may carry the token."""
        return isinstance(url, str) and self._bearer.origins.cover_url(url)

    def held(self, request: PreparedRequest) -> str | bytes | None:
        """The value of the token's header in the request."""
        return request.headers.get(self._bearer.header)

    def attach(self, request: PreparedRequest) -> None:
        """Put the present token on the request. Raises an `OnerefreshError` where no token is available."""
        text = self._calls.fresh() or self._bearer.text(self._calls.credential.token())
        request.headers[self._bearer.header] = text

    def send_on(self, request: PreparedRequest, final: Response) -> None:
        """Prepare `request` to be copied for the redirect that `final` asks for: with our token, or without it."""
        if final.status_code not in REDIRECT_STATI:
            return
        target, sent = _redirect_target(final), self.held(final.request)
        if target is None or not isinstance(sent, HeaderText):
            return
        if self.covers(target):
            request.headers[self._bearer.header] = sent
        else:
            del request.headers[self._bearer.header]

    def settle(self, response: Response, send: Callable[[PreparedRequest], Response]) -> Response:
        """What the caller gets for `response`: itself, or the answer to the replay."""
        held = self.held(response.request)
        # The header's value knows its token. A redirect or ~/.netrc may have put another value there.
        if not isinstance(held, HeaderText) or not self.covers(response.request.url):
            return response
        call = self._calls.answered(held, response.status_code)
        if call is None:
            return response
        for step in call:
            match step:
                case "challenges":
                    call.challenges = _values(response, "WWW-Authenticate")
                case "drain":
                    _drain(response)
                case "take":
                    call.token = self._calls.credential.token(refused=call.refused)
                case "rewind":
                    call.rewound = _rewind(response.request)
                case "send":
                    refusal, again = response, response.request.copy()
                    again.headers[self._bearer.header] = call.text
                    response = send(again)
                    response.history.append(refusal)
                    call.status = response.status_code
        return response


class BearerAuth(AuthBase):
    """Sends the token of `credential` to `origins` and nowhere else. A refused call waits for the next token, once.

    It is the ``auth`` of a session or of a call, and may serve many of them. A call that brings its own header passes
    through.

    * `scheme`: stands before the token (``""``: the bare token).
    * `refused_statuses`: the statuses by which this API refuses a token.

    Raises `ConfigurationError` for arguments that make no sense. Calls raise an `OnerefreshError` where no token is
    available.

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
        refused_statuses: Collection[int] = UNAUTHORIZED,
    ) -> None:
        self._call = _Call(credential, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)
        self._hook = _Hook(self._call)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        held = self._call.held(request)
        if self._call.covers(request.url) and (held is None or isinstance(held, HeaderText)):
            self._call.attach(request)
            if self._hook not in request.hooks["response"]:
                request.hooks["response"].append(self._hook)
        return request


class _Hook:
    """requests calls this for the answer of every hop. A pickled request leaves it behind."""

    def __init__(self, call: _Call) -> None:
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
    try:
        response: Response = adapter.send(request, *given, **options)
    except Exception as error:
        behind: list[BaseException | None] = [error]
        for found in behind:
            if found is not None:
                clear_frames(found.__traceback__)
                behind += [other for other in (found.__cause__, found.__context__) if other not in behind]
        raise
    return response


class BearerAdapter(BaseAdapter):
    """As `BearerAuth`, for one origin's adapter: redirects and ``~/.netrc`` cannot affect it.

    ``session.mount("https://api.example.com/", BearerAdapter(credential, "https://api.example.com"))``.

    `adapter` sends the requests (default: an `HTTPAdapter`). The caller's request never holds the token, nor does the
    traceback of a call that fails, even where it shows the locals of its frames.
    """

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        adapter: BaseAdapter | None = None,
        *,
        header: str = "Authorization",
        scheme: str | None = "Bearer",
        refused_statuses: Collection[int] = UNAUTHORIZED,
    ) -> None:
        super().__init__()
        self._call = _Call(credential, origins, header=header, scheme=scheme, refused_statuses=refused_statuses)
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

        def beneath(sent: PreparedRequest) -> Response:
            return _sent(self._adapter, sent, stream, timeout, verify, cert, proxies)

        held = self._call.held(request)
        if not self._call.covers(request.url) or (held is not None and not _from_netrc(request)):
            return self._adapter.send(request, stream, timeout, verify, cert, proxies)
        sent = request.copy()
        self._call.attach(sent)
        return self._call.settle(beneath(sent), beneath)

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


def _redirect_target(response: Response) -> str | None:
    """The URL to which requests would go next, found in its own way."""
    location = SessionRedirectMixin().get_redirect_target(response)
    return None if location is None else urljoin(response.url, location)


def _values(response: Response, header: str) -> list[str]:
    value = response.headers.get(header)
    return [] if value is None else [value]


def _rewind(request: PreparedRequest) -> bool:
    position = getattr(request, "_body_position", None)  # the beginning of a file, as requests noted it
    return rewind(request.body, position if isinstance(position, int) else None)


def _drain(response: Response) -> None:
    """Read a refusal, at most 1 MiB of it, and give its connection back for other calls. It can be read again."""
    kept = bytearray()
    for chunk in response.iter_content(65_536):
        kept += chunk
        if len(kept) > LONGEST_REFUSAL:
            break
    response.close()
    response._content = bytes(kept[:LONGEST_REFUSAL])
    response._content_consumed = True  # type: ignore[attr-defined]  # the stubs do not have it
