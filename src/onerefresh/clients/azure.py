"""azure-core: `BearerPolicy` for the pipeline of a client, with a `TokenCredential` or `AsyncTokenCredential`.

Client(endpoint, TokenCredential(credential), authentication_policy=BearerPolicy(credential, endpoint))
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from onerefresh.clients.bearer import UNAUTHORIZED, HeaderText
from onerefresh.clients.call import Calls, RefusedCall
from onerefresh.clients.replay import arewind, body_position, rewind
from onerefresh.credential import Credential
from onerefresh.errors import ConfigurationError
from onerefresh.one_object import OneObject

try:
    from azure.core.pipeline import PipelineRequest
    from azure.core.pipeline.policies import AsyncHTTPPolicy, HTTPPolicy

    from onerefresh.clients.azure_credentials import AsyncTokenCredential, TokenCredential
except ModuleNotFoundError as error:
    if error.name not in ("azure", "azure.core"):
        raise
    raise ConfigurationError("onerefresh.clients.azure needs azure-core: pip install 'onerefresh[azure]'") from None

__all__ = ["AsyncTokenCredential", "BearerPolicy", "TokenCredential"]

_HEADER: Final = "Authorization"


class BearerPolicy(OneObject, HTTPPolicy[Any, Any], AsyncHTTPPolicy[Any, Any]):
    """Sends the token of `credential` to `origins` and nowhere else. A refused call waits for the next token, once.

    It is the ``authentication_policy`` of a client, sync or async, or one of the policies of a `Pipeline`, after the
    retries. As all policies of Azure, it belongs to one client: make one for each. The token replaces an
    ``Authorization`` that the request brings.

    * `refused_statuses`: the statuses by which this API refuses a token.

    Raises `ConfigurationError` for arguments that make no sense. Calls raise an `OnerefreshError` where no token is
    available, and `InteractionRequired` for a claims challenge; Azure's retries pass both on unchanged.
    """

    next: Any  # a sync policy or an async one

    def __init__(
        self,
        credential: Credential,
        origins: str | Iterable[str],
        *,
        refused_statuses: Collection[int] = UNAUTHORIZED,
    ) -> None:
        super().__init__()
        self._calls = Calls(
            credential,
            origins,
            header=_HEADER,
            scheme="Bearer",
            refused_statuses=refused_statuses,
            apart="send that request by a client without this policy",
        )

    def send(self, request: PipelineRequest[Any]) -> Any:
        """Send the request by the next policy, with the token; the response, or what is to be awaited for it."""
        request.context.options.pop("enforce_https", None)  # for Azure's own policy; our origins say it
        following = self.next
        while isinstance(following, BearerPolicy):
            following = following.next
        return self._asend(request) if isinstance(following, AsyncHTTPPolicy) else self._send(request)

    def _send(self, request: PipelineRequest[Any]) -> Any:
        calls, http = self._calls, request.http_request
        target = calls.bearer.origins.target_of(http.url)
        if not target[0]:
            return self.next.send(self._without(request))
        bodies = list(_bodies(http))
        sent = http.headers[_HEADER] = calls.fresh() or calls.bearer.text(calls.credential.token())
        response = self.next.send(request)
        call = calls.answered(sent, response.http_response.status_code, target)
        if call is None:
            return response
        for step in call:
            match step:
                case "drain":
                    answer = response.http_response
                    _ = answer.read() if hasattr(answer, "read") else answer.body()
                case "take":
                    call.token = calls.credential.token(refused=call.refused)
                case "rewind":
                    call.rewound = all(rewind(*body) for body in bodies)
                case "send":
                    http.headers[_HEADER] = call.text
                    response = self.next.send(request)
                    call.status = response.http_response.status_code
                case _:
                    _tell(call, response)
        return response

    async def _asend(self, request: PipelineRequest[Any]) -> Any:
        calls, http = self._calls, request.http_request
        target = calls.bearer.origins.target_of(http.url)
        if not target[0]:
            return await self.next.send(self._without(request))
        bodies = list(_bodies(http))
        sent = http.headers[_HEADER] = calls.fresh() or calls.bearer.text(await calls.credential.atoken())
        response = await self.next.send(request)
        call = calls.answered(sent, response.http_response.status_code, target)
        if call is None:
            return response
        for step in call:
            match step:
                case "drain":
                    answer = response.http_response
                    await (answer.read() if hasattr(answer, "read") else answer.load_body())
                case "take":
                    call.token = await calls.credential.atoken(refused=call.refused)
                case "rewind":
                    call.rewound = all([await arewind(*body) for body in bodies])
                case "send":
                    http.headers[_HEADER] = call.text
                    response = await self.next.send(request)
                    call.status = response.http_response.status_code
                case _:
                    _tell(call, response)
        return response

    def _without(self, request: PipelineRequest[Any]) -> PipelineRequest[Any]:
        """The request to another origin, such as after a redirect: what we have put there must not go along."""
        if isinstance(request.http_request.headers.get(_HEADER), HeaderText):
            del request.http_request.headers[_HEADER]
        return request


def _tell(call: RefusedCall, response: Any) -> None:
    """The step ``challenges``; there are no rules, so that the body is never looked at."""
    found = response.http_response.headers.get("WWW-Authenticate")
    call.challenges = [] if found is None else [found]


def _bodies(request: Any) -> Iterator[tuple[object, int | None]]:
    """What is sent as the request's body, with the positions of files in it."""
    yield request.data, body_position(request.data)
    files: Any = request.files or ()
    for _, part in files.items() if isinstance(files, Mapping) else files:
        content = part[1] if isinstance(part, tuple) else part
        yield content, body_position(content)
