"""How the calls of `onerefresh fetch` get their token: in the header, or in another place that the API wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx2

from onerefresh.clients.attach import Attach, parts_of
from onerefresh.clients.httpx import BearerAuth, BearerTransport
from onerefresh.clients.refused import RefusedBy
from onerefresh.credential import Credential

__all__ = ["client_settings"]


def client_settings(
    credential: Credential,
    origins: Sequence[str],
    attach: Attach | None,
    limits: httpx2.Limits,
    refused: RefusedBy = None,
) -> dict[str, Any]:
    """The settings of an `httpx2.AsyncClient` that sends the token to these origins, as `attach` says.

    `refused`: rules about other refusals than a 401.
    """
    if attach is None or _is_authorization(attach):
        return {"auth": BearerAuth(credential, origins, attach=attach, refused=refused), "limits": limits}
    transport = BearerTransport(credential, origins, _WithProxies(limits), attach=attach, refused=refused)
    return {"transport": transport}


def _is_authorization(attach: Attach) -> bool:
    parts = parts_of(attach, "Authorization")
    return len(parts) == 1 and (parts[0].place, parts[0].name.lower()) == ("header", "authorization")


class _WithProxies(httpx2.AsyncBaseTransport):
    """Sends each request through the proxy that the environment names for it, as a client without a transport does."""

    def __init__(self, limits: httpx2.Limits) -> None:
        self._limits = limits
        self._proxies = getproxies()
        self._transports: dict[str | None, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        if proxy is not None and proxy_bypass(url.netloc.decode("ascii")):
            proxy = None
        if proxy not in self._transports:
            full = proxy if proxy is None or "://" in proxy else f"http://{proxy}"
            self._transports[proxy] = httpx2.AsyncHTTPTransport(limits=self._limits, proxy=full)
        return await self._transports[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()
