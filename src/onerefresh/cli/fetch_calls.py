"""The calls of `onerefresh fetch`: bounded in number and in memory, each with its own result."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2

from onerefresh.cli.fetch_files import BoundedBody, FileBody, PrintedBody
from onerefresh.cli.fetch_transport import client_settings
from onerefresh.cli.output import OutputFailed
from onerefresh.clients.attach import Attach
from onerefresh.clients.refused import RefusedBy
from onerefresh.credential import Credential
from onerefresh.errors import OnerefreshError
from onerefresh.redaction import Redactor
from onerefresh.token import Token

__all__ = ["Call", "Result", "fetch_all"]

TIMEOUT = httpx2.Timeout(60.0, connect=10.0, pool=None)
"""Seconds without a byte. No call waits for a connection, since there are as many as concurrent calls."""


@dataclass(frozen=True, slots=True)
class Call:
    """One URL; its body goes to the file `path`, to standard output, or nowhere."""

    url: str
    path: Path | None = None
    prints_body: bool = False

    def body(self) -> AbstractContextManager[BoundedBody | None]:
        """Where the body goes, once it is there."""
        if self.path is not None:
            return FileBody(self.path)
        return nullcontext(PrintedBody() if self.prints_body else None)


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended. `status`: None where there was no whole answer. `size`: bytes of the body, decoded."""

    call: Call
    status: int | None
    size: int = 0
    problem: str = ""


def fetch_all(
    credential: Credential,
    origins: Sequence[str],
    calls: Sequence[Call],
    concurrency: int,
    report: Callable[[Result], None],
    *,
    attach: Attach | None = None,
    refused: RefusedBy = None,
) -> None:
    """Make all calls, at most `concurrency` at the same time, and report each when it ends.

    `attach`: how the API wants the token, where that is not as a bearer token.

    An error of the credential concerns every call: the first one ends them all, and is raised. The same holds for
    `OutputFailed`. `refused`: rules about other refusals than a 401.
    """
    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    settings = client_settings(credential, origins, attach, limits, refused)
    asyncio.run(_fetch_all(credential, settings, iter(calls), concurrency, report))


async def _fetch_all(
    credential: Credential,
    settings: dict[str, Any],
    calls: Iterator[Call],
    concurrency: int,
    report: Callable[[Result], None],
) -> None:
    stopped: Exception | None = None
    async with httpx2.AsyncClient(**settings, timeout=TIMEOUT, follow_redirects=True) as client:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):  # a worker without a call ends at once
                    group.create_task(_work(client, calls, report, credential))
        except* (OnerefreshError, OutputFailed) as several:
            stopped = _first(several)
    if stopped is not None:
        raise stopped


async def _work(
    client: httpx2.AsyncClient, calls: Iterator[Call], report: Callable[[Result], None], credential: Credential
) -> None:
    for call in calls:  # shared by all workers, which take the next call from it
        report(await _made(client, call, credential))


async def _made(client: httpx2.AsyncClient, call: Call, credential: Credential) -> Result:
    size = 0
    try:
        async with client.stream("GET", call.url) as response:
            if not response.is_success:
                return Result(call, response.status_code, problem=_phrase(response.status_code))
            with call.body() as body:
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if body is not None:
                        body.write(chunk)
    except httpx2.HTTPError as error:
        return Result(call, None, size, _words(error, credential.current()))
    return Result(call, response.status_code, size)


def _phrase(status: int) -> str:
    """The status in words. The server's own words are not shown, since they could hold anything."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "failed"


def _words(error: httpx2.HTTPError, token: Token | None) -> str:
    """``ReadTimeout`` as "read timeout", with the exception's text, which may quote a server that repeats the token."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    message = Redactor(token.secrets if token is not None else ()).quote(str(error))
    return f"{kind}: {message}" if message else kind


def _first(several: BaseExceptionGroup[Exception]) -> Exception:
    found: BaseException = several
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, Exception)
    return found
