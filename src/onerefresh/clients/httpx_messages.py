"""Requests and responses of httpx2 and httpx: of which package they are, and what their bodies are made of."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final, TypeAlias

from onerefresh.clients.bearer import Bearer, Further
from onerefresh.clients.call import LONGEST_REFUSAL
from onerefresh.clients.origins import Origins
from onerefresh.clients.places import has_parameter, with_cookies, with_parameters
from onerefresh.clients.replay import body_position
from onerefresh.errors import ConfigurationError

__all__ = [
    "PACKAGES",
    "Request",
    "Response",
    "Transport",
    "adrain",
    "blaming",
    "bodies_of",
    "brings",
    "copied",
    "drain",
    "forget",
    "keep",
    "package_of",
    "sent_bytes",
    "write",
]

# Objects of either package: their classes are alike, but have no common base.
Request: TypeAlias = Any
Response: TypeAlias = Any
Transport: TypeAlias = Any
Bodies: TypeAlias = list[tuple[object, int | None]]


def _installed() -> list[ModuleType]:
    found: list[ModuleType] = []
    for name in ("httpx2", "httpx"):
        try:
            package = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
        else:
            if package not in found:  # httpx2 can stand in for httpx
                found.append(package)
    if not found:
        raise ConfigurationError("onerefresh.clients.httpx needs httpx2 or httpx: pip install 'onerefresh[httpx]'")
    return found


PACKAGES: Final = _installed()


def package_of(message: Request | Response) -> ModuleType:
    known = _PACKAGE_OF.get(type(message))
    if known is not None:
        return known
    return next(package for package in PACKAGES if isinstance(message, (package.Request, package.Response)))


def _shown(request: Request) -> str:
    """A request without its query, for tracebacks that show the locals of their frames."""
    return f"<Request({request.method!r}, {str(request.url).partition('?')[0]!r})>"


_QUIET: Final = {package: type("Request", (package.Request,), {"__repr__": _shown}) for package in PACKAGES}
_PACKAGE_OF: Final = {
    kind: package for package in PACKAGES for kind in (package.Request, package.Response, _QUIET[package])
}


def copied(request: Request, *, quiet: bool = False) -> Request:
    """A copy of the request for the token: the client builds the request of a redirect from its own one.

    `quiet`: its ``repr`` does not show the query.
    """
    package = package_of(request)
    made = _QUIET[package] if quiet else package.Request
    return made(
        request.method, request.url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


def brings(request: Request, bearer: Bearer) -> str | None:
    """The name of what the caller brings in one of the places besides the first header; None where there is nothing."""
    for header in bearer.headers[1:]:
        if header in request.headers:
            return header
    return has_parameter(f"?{request.url.query.decode('ascii')}", bearer.query) if bearer.query else None


def write(request: Request, further: Further) -> None:
    """Put it into the request, in the place of what is there."""
    for name, text in further.headers:
        request.headers[name] = text
    if further.cookies:
        request.headers["Cookie"] = with_cookies(request.headers.get_list("Cookie"), further.cookies)
    if further.query:
        query = with_parameters(f"?{request.url.query.decode('ascii')}", further.query)
        request.url = request.url.copy_with(query=query[1:].encode("ascii"))


def forget(response: Response, further: Further, origins: Origins) -> None:
    """Take the token out of the address to which the answer redirects: the client would go there with it."""
    location = response.headers.get("Location")
    if location is None:
        return
    try:
        target = response.request.url.join(location)
        leaves = not origins.cover(target.scheme, target.raw_host, target.port)
    except Exception:  # noqa: BLE001 - what it makes of an odd address is the client's affair, and so is the error
        leaves = True
    if (cleaned := further.taken_out(location, leaves=leaves)) != location:
        response.headers["Location"] = cleaned


def bodies_of(request: Request) -> Bodies:
    """The sources of the request's body, each with the position where a file among them begins."""
    stream = request.stream
    if isinstance(stream, _IN_MEMORY):
        return []
    if hasattr(stream, "fields"):  # multipart: the client itself sends each file from its start
        return [(getattr(field, "file", getattr(field, "value", field)), 0) for field in stream.fields]
    body = getattr(stream, "_stream", stream)  # the only way to get the body that the user gave
    return [(body, body_position(body))]


_IN_MEMORY: Final = tuple(package.ByteStream for package in PACKAGES)


def sent_bytes(request: Request) -> bytes | None:
    """The request's body; None where it is not in memory."""
    return b"".join(request.stream) if isinstance(request.stream, _IN_MEMORY) else None


def drain(response: Response) -> None:
    """Read a refusal, at most 1 MiB of it, and give its connection back for other calls. It can be read again."""
    if response.is_closed:
        return
    kept = bytearray()
    with blaming(response), contextlib.closing(response.stream) as stream:
        for chunk in stream:
            kept += chunk
            if len(kept) > LONGEST_REFUSAL:
                break
    keep(response, bytes(kept[:LONGEST_REFUSAL]))


async def adrain(response: Response) -> None:
    if response.is_closed:
        return
    kept = bytearray()
    stream = response.stream
    try:
        with blaming(response):
            async for chunk in stream:
                kept += chunk
                if len(kept) > 2 * LONGEST_REFUSAL:
                    break
                if len(kept) > LONGEST_REFUSAL:
                    # Go on until that fails: trio requires each asynchronous generator to reach its end, and this
                    # is the only way to those within the client.
                    await stream.aclose()
    except package_of(response).RequestError:
        if len(kept) <= LONGEST_REFUSAL:
            raise
    await stream.aclose()
    keep(response, bytes(kept[:LONGEST_REFUSAL]))


def keep(response: Response, content: bytes) -> None:
    elapsed = getattr(response.stream, "elapsed", None)
    if elapsed is not None:
        response.elapsed = elapsed
    response.stream = package_of(response).ByteStream(content)


@contextlib.contextmanager
def blaming(response: Response) -> Iterator[None]:
    """Let errors of the client name their request, as they do elsewhere."""
    try:
        yield
    except package_of(response).RequestError as error:
        error.request = response.request
        raise
