"""One call of requests, from the first try to the replay: what both forms do with a request and its answer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final
from urllib.parse import urljoin

from requests import PreparedRequest, Response
from requests.models import REDIRECT_STATI
from requests.sessions import SessionRedirectMixin

from onerefresh.clients.bearer import HeaderText
from onerefresh.clients.call import LONGEST_REFUSAL, Calls
from onerefresh.clients.hiding import silence
from onerefresh.clients.places import has_parameter, with_cookies, with_parameters
from onerefresh.clients.replay import rewind
from onerefresh.clients.requests_peek import head_of, peek
from onerefresh.one_object import OneObject

__all__ = ["Call"]

_LOGGERS: Final = ("urllib3.connectionpool", "urllib3.connection", "urllib3.poolmanager", "urllib3.util.retry")
"""They log the targets of requests."""
_NETRC: Final = (
    "requests puts ~/.netrc there when it follows a redirect: use BearerAdapter, or a session whose trust_env is off"
)


class Call(OneObject):
    """What both forms do with a request and its answer."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self._bearer = calls, calls.bearer
        if self._bearer.query:
            silence(_LOGGERS, self._bearer.query)

    @property
    def shown(self) -> str:
        """The places of the token that requests itself would show or carry elsewhere; empty where there are none."""
        return self._bearer.places if self._bearer.query or self._bearer.cookies else ""

    @property
    def statuses(self) -> Collection[int]:
        """The statuses by which the API refuses a token."""
        return self._bearer.refused_statuses

    @property
    def has_rules(self) -> bool:
        """Whether there are rules about answers with another status."""
        return self._bearer.rules is not None

    def covers(self, url: str | None) -> bool:
        """Whether requests to this URL may carry the token."""
        return isinstance(url, str) and self._bearer.origins.cover_url(url)

    def concerns(self, request: PreparedRequest, own: str | None) -> bool:
        """Whether this request gets our token. `own`: the name of what its caller brings in the token's place."""
        if not self.covers(request.url):
            return False
        if own is None or self._calls.replace:
            return True
        self._calls.passes_through(own)
        return False

    def held(self, request: PreparedRequest) -> str | bytes | None:
        """The value of the token's header in the request."""
        return request.headers.get(self._bearer.header)

    def own(self, request: PreparedRequest) -> str | None:
        """The name of what the caller brings in one of the token's places; None where there is nothing."""
        for name in self._bearer.headers:
            if name in request.headers and not isinstance(request.headers[name], HeaderText):
                return name
        return has_parameter(str(request.url), self._bearer.query) if self._bearer.query else None

    def attach(self, request: PreparedRequest) -> HeaderText:
        """Put the present token on the request. Raises an `OnerefreshError` where no token is available."""
        text = self._calls.fresh() or self._bearer.text(self._calls.credential.token())
        self.write(request, text)
        return text

    def write(self, request: PreparedRequest, text: HeaderText) -> None:
        """Put this token on the request, in the place of an earlier one."""
        if self._bearer.header:
            request.headers[self._bearer.header] = text
        further = text.further
        if further is None:
            return
        for name, value in further.headers:
            request.headers[name] = value
        if further.cookies:
            given: Any = request.headers.get("Cookie", "")  # requests takes bytes, too
            given = given.decode("latin-1") if isinstance(given, bytes) else given
            cookies = HeaderText(with_cookies([given], further.cookies))
            cookies.token, cookies.further = text.token, None
            request.headers["Cookie"] = cookies
        if further.query:
            request.url = with_parameters(str(request.url), further.query)

    def send_on(self, request: PreparedRequest, final: Response) -> None:
        """Prepare `request` to be copied for the redirect that `final` asks for: with our token, or without it."""
        if final.status_code not in REDIRECT_STATI:
            return
        target = _redirect_target(final)
        if target is None:
            return
        for name in self._bearer.headers:
            sent = final.request.headers.get(name)
            if not isinstance(sent, HeaderText):
                continue
            if self.covers(target):
                request.headers[name] = sent
            else:
                request.headers.pop(name, None)

    def forget(self, response: Response, text: HeaderText) -> None:
        """Take the token out of the address to which the answer redirects: requests would go there with it."""
        location, further = response.headers.get("Location"), text.further
        if location is None or further is None:
            return
        try:
            leaves = not self.covers(urljoin(response.url, location))
        except ValueError:
            leaves = True  # what it makes of an odd address is the affair of requests, and so is the error
        if (cleaned := further.taken_out(location, leaves=leaves)) != location:
            response.headers["Location"] = cleaned

    def _sent_with(self, request: PreparedRequest) -> HeaderText | None:
        """The token with which a request was sent; None where it is not in all of its headers, or went elsewhere."""
        if not self.covers(request.url):
            return None
        first: HeaderText | None = None
        for name in self._bearer.headers:
            value = request.headers.get(name)
            if value is None:
                return None
            if not isinstance(value, HeaderText):
                self._calls.passes_through(name, _NETRC)
                return None
            first = first or value
        return first

    def settle(
        self, response: Response, send: Callable[[PreparedRequest], Response], sent: HeaderText | None = None
    ) -> Response:
        """What the caller gets for `response`: itself, or the answer to the replay. `sent`: the token, where known."""
        # Otherwise the header's value knows its token. A redirect or ~/.netrc may have put another value there.
        held = self._sent_with(response.request) if sent is None else sent
        if held is None:
            return response
        self.forget(response, held)
        target = self._bearer.origins.target_of(response.request.url or "")
        call = self._calls.answered(held, response.status_code, target)
        if call is None:
            return response
        for step in call:
            match step:
                case "challenges":
                    call.challenges = _values(response, "WWW-Authenticate")
                case "head":
                    call.head = head_of(response)
                case "peek":
                    peek(response, call.peek)
                case "drain":
                    _drain(response)
                case "take":
                    call.token = self._calls.credential.token(refused=call.refused)
                case "rewind":
                    call.rewound = _rewind(response.request)
                case "send":
                    refusal, again = response, response.request.copy()
                    self.write(again, call.text)
                    response = send(again)
                    self.forget(response, call.text)
                    response.history.append(refusal)
                    call.status = response.status_code
        return response


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
