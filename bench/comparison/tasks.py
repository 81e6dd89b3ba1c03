"""The contenders for asyncio. Each yields a function that GETs a URL and returns the status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
import httpx
import httpx2

from bench.comparison.job import Job

Get: TypeAlias = Callable[[str], Awaitable[int]]


@asynccontextmanager
async def authlib(job: Job) -> AsyncIterator[Get]:
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    async def save(token: dict[str, Any], **_: object) -> None:
        job.save(token)

    client = AsyncOAuth2Client(
        job.client_id, job.client_secret, token=job.load(), token_endpoint=job.token_url, update_token=save
    )
    async with client:
        yield _through(client)


@asynccontextmanager
async def singleflight_auth(job: Job) -> AsyncIterator[Get]:
    from singleflight_auth import AsyncSingleFlightAuth

    token = job.load()

    async def refresh() -> str:
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                job.token_url, data={**job.refresh_form, "refresh_token": token["refresh_token"]}, timeout=30
            )
        answer.raise_for_status()
        token.update(answer.json())
        job.save(token)
        access: str = token["access_token"]
        return access

    auth = AsyncSingleFlightAuth(get_token=lambda: token["access_token"], refresh=refresh)
    async with httpx.AsyncClient(auth=auth) as client:
        yield _through(client)


@asynccontextmanager
async def aiohttp_oauth2_client(job: Job) -> AsyncIterator[Get]:
    from aiohttp_oauth2_client.grant.common import OAuth2Grant
    from aiohttp_oauth2_client.middleware import OAuth2Middleware

    # Its subclasses add ways to log in; refreshing is this class's own.
    grant = OAuth2Grant(job.token_url, token=job.load(), client_id=job.client_id, client_secret=job.client_secret)
    async with grant, aiohttp.ClientSession(middlewares=[OAuth2Middleware(grant)]) as session:
        yield _through_aiohttp(session)


@asynccontextmanager
async def own_lock(job: Job) -> AsyncIterator[Get]:
    """As it is often written: one lock, and under it a look whether somebody else has refreshed meanwhile."""
    token, lock = job.load(), asyncio.Lock()

    async with httpx2.AsyncClient() as client:

        async def get(url: str) -> int:
            used = token["access_token"]
            response = await client.get(url, headers={"Authorization": f"Bearer {used}"})
            if response.status_code == 401:
                async with lock:
                    if token["access_token"] == used:
                        form = {**job.refresh_form, "refresh_token": token["refresh_token"]}
                        answer = await client.post(job.token_url, data=form, timeout=30)
                        answer.raise_for_status()
                        token.update(answer.json())
                        job.save(token)
                response = await client.get(url, headers={"Authorization": f"Bearer {token['access_token']}"})
            return response.status_code

        yield get


@asynccontextmanager
async def onerefresh(job: Job) -> AsyncIterator[Get]:
    from onerefresh import Credential
    from onerefresh.clients.httpx import BearerAuth
    from onerefresh.oauth2 import TokenEndpoint

    endpoint = TokenEndpoint(job.token_url, client_id=job.client_id, client_secret=job.client_secret)
    credential = Credential("bench", endpoint, token=job.load(), store=job.store)
    async with httpx2.AsyncClient(auth=BearerAuth(credential, job.api_url.removesuffix("/api"))) as client:
        yield _through(client)


def _through(client: httpx.AsyncClient | httpx2.AsyncClient) -> Get:
    async def get(url: str) -> int:
        response = await client.get(url)
        return response.status_code

    return get


def _through_aiohttp(session: aiohttp.ClientSession) -> Get:
    async def get(url: str) -> int:
        async with session.get(url) as response:
            await response.read()
            return response.status

    return get
