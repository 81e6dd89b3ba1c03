"""A rule may look at a body, and nobody notices: each byte reaches the caller, and nothing is waited for in vain."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from tests.clients.conftest import OpenDriver
from tests.clients.drivers import FORMS, Driver, Options, steps
from tests.clients.scripted import Script, Scripted, answer, chunk, head

from onerefresh import Credential
from onerefresh.clients.refused import ApiAnswer, RefusedWhen

pytestmark = pytest.mark.slow

CHUNKED = "Transfer-Encoding: chunked"
SMALL = json.dumps({"items": list(range(100))}).encode()
LONG = json.dumps({"items": [f"{number:x}" * 5 for number in range(20_000)]}).encode()
LONG_GZIP = gzip.compress(LONG)
END = b"0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def chunks(body: bytes, size: int) -> list[bytes]:
    return [chunk(body[start : start + size]) for start in range(0, len(body), size)]


BODIES: dict[str, list[bytes]] = {
    "/plain": answer(SMALL),
    "/empty": answer(b""),
    "/204": [b"HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"],
    "/long": answer(LONG),
    "/exactly": answer(b"[" + b" " * 65_534 + b"]"),
    "/no-json": answer(b"\xff\xfe\x00[[[}"),
    "/deep": answer(b"[" * 60_000),
    "/chunked": [head(CHUNKED), *chunks(SMALL, 7), END],
    "/long-chunked": [head(CHUNKED), *chunks(LONG, 5_000), END],
    "/until-close": [head(), SMALL],
    "/long-until-close": [head(), LONG],
    "/gzip": answer(gzip.compress(SMALL), "Content-Encoding: gzip"),
    "/gzip-chunked": [head(CHUNKED, "Content-Encoding: gzip"), *chunks(gzip.compress(SMALL), 5), END],
    "/gzip-long": answer(LONG_GZIP, "Content-Encoding: gzip"),
    "/gzip-long-chunked": [head(CHUNKED, "Content-Encoding: gzip"), *chunks(LONG_GZIP, 999), END],
    "/deflate": answer(zlib.compress(SMALL), "Content-Encoding: deflate"),
    "/raw-deflate": answer(raw_deflate(SMALL), "Content-Encoding: deflate"),
    "/bomb": answer(gzip.compress(b" " * 3_000_000), "Content-Encoding: gzip"),
    "/two-documents": [head(CHUNKED), chunk(b'{"a": "}"}\n'), chunk(b'{"a": "\\"'), chunk(b'"}'), END],
}

BROKEN: dict[str, list[bytes]] = {
    "/too-short": [head("Content-Length: 1000"), SMALL],
    "/cut": [head(CHUNKED), chunk(b'{"a": 1')],
    "/cut-in-a-chunk": [head(CHUNKED), chunk(b'{"a": 1'), b"1000\r\nonly this"],
    "/long-cut": [head(CHUNKED), *chunks(LONG, 5_000)],
    "/no-gzip": answer(SMALL, "Content-Encoding: gzip"),
    "/gzip-cut": [head(CHUNKED, "Content-Encoding: gzip"), *chunks(gzip.compress(SMALL), 50)[:-1], END],
}


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    scripts = {path: (lambda pieces=pieces: pieces) for path, pieces in {**BODIES, **BROKEN}.items()}
    with Scripted(dict(scripts)) as scripted:
        yield scripted


def looking(seen: list[ApiAnswer]) -> RefusedWhen:
    """A rule that looks at every answer, and minds none."""

    def judge(found: ApiAnswer) -> bool | None:
        found.json()
        seen.append(found)
        return None

    return RefusedWhen(judge, statuses={200, 204, 403})


def outcome(driver: Driver, url: str, *, streamed: bool) -> Any:
    try:
        return b"".join(driver.stream(url)) if streamed else driver.get(url).body
    except Exception as error:  # noqa: BLE001 - each client has its own
        return type(error)


@pytest.mark.parametrize("streamed", [False, True])
def test_every_byte_and_every_error_reaches_the_caller(
    form: type[Driver], credential: Credential, scripted: Scripted, streamed: bool
) -> None:
    seen: list[ApiAnswer] = []
    plain = Options()
    if getattr(form, "backend", None) == "trio":
        del scripted.scripts["/no-gzip"]  # httpx leaves its own generator behind there, which trio minds
    with form(credential, scripted.url, plain) as usual:
        expected = {path: outcome(usual, scripted.url + path, streamed=streamed) for path in scripted.scripts}
    with form(credential, scripted.url, Options(arguments={"refused": looking(seen)})) as driver:
        found = {path: outcome(driver, scripted.url + path, streamed=streamed) for path in scripted.scripts}
    assert {path: got for path, got in found.items() if got != expected[path]} == {}
    assert len(seen) >= 18, "the rule was asked"


def test_the_rule_sees_the_beginning_decoded(open_driver: OpenDriver, credential: Credential) -> None:
    seen: list[ApiAnswer] = []
    scripts: dict[str, Any] = {path: (lambda pieces=pieces: pieces) for path, pieces in BODIES.items()}
    with Scripted(scripts) as scripted:
        driver = open_driver(credential, origins=scripted.url, arguments={"refused": looking(seen)})

        def look(path: str) -> ApiAnswer | None:
            seen.clear()
            driver.get(scripted.url + path)
            return seen[0] if seen else None

        for path in ("/plain", "/chunked", "/until-close", "/gzip", "/gzip-chunked", "/deflate", "/raw-deflate"):
            found = look(path)
            assert found is not None
            assert (found.body, found.json()) == (SMALL, json.loads(SMALL)), path
        for path in ("/long-chunked", "/long-until-close", "/gzip-long-chunked"):
            found = look(path)
            assert found is not None
            assert (found.body, found.whole, found.json()) == (LONG[:65_536], False, None), path
        for path in ("/long", "/204"):
            assert look(path) is None, "an answer that says that it is long, or has no body, is not looked at"
        bomb = look("/bomb")
        assert bomb is not None
        assert bomb.body == b" " * 65_536


def test_an_answer_to_head_has_no_body_to_look_at(open_driver: OpenDriver, credential: Credential) -> None:
    seen: list[ApiAnswer] = []
    with Scripted({"/": lambda: [head("Content-Length: 10")]}) as scripted:
        driver = open_driver(credential, origins=scripted.url, arguments={"refused": looking(seen)})
        found = driver.call("HEAD", scripted.url + "/")
    assert (found.status, found.body, seen) == (200, b"", [])


# --- Nothing is waited for in vain ---


class Gate:
    """Holds the server until the client has got something; a server that waits for ever is a test that fails."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.was_opened = True

    def open(self, *_: object) -> None:
        self._open.set()

    def wait(self) -> None:
        self.was_opened = self._open.wait(20)

    def drip(self) -> Iterator[bytes]:
        """Numbers of a list that does not end before the gate is open."""
        ends_at = time.monotonic() + 20
        while not self._open.wait(0.02):
            yield chunk(b"1,")
            self.was_opened = time.monotonic() < ends_at
            if not self.was_opened:
                break


def refuses_all(_: ApiAnswer) -> bool:
    return True


EVERYTHING = RefusedWhen(looking([]).judge, statuses={200}, content_types=["*/*", "application/*+json"])


@pytest.mark.parametrize(
    "kind", ["text/event-stream", "text/event-stream; charset=utf-8", "application/x-ndjson", "multipart/mixed"]
)
def test_a_stream_is_handed_over_before_it_has_begun(
    open_driver: OpenDriver, credential: Credential, kind: str
) -> None:
    gate = Gate()
    with Scripted({"/": lambda: [head(CHUNKED, kind=kind), gate.wait, chunk(b"data: 1\n\n"), END]}) as scripted:
        driver = open_driver(credential, origins=scripted.url, arguments={"refused": EVERYTHING})
        assert driver.stream(scripted.url + "/", answered=gate.open) == [b"data: 1\n\n"]
    assert gate.was_opened


@pytest.mark.parametrize(
    ("rule", "headers", "kind"),
    [
        (EVERYTHING, ["Content-Length: 1000000"], "application/json"),
        (looking([]), [], "text/html"),
        (RefusedWhen(refuses_all, statuses=403), [], "application/json"),
        (RefusedWhen(refuses_all, statuses={302}, content_types=()), [], "application/json"),
        (lambda found: found.status == 302, [], "application/json"),
        (RefusedWhen(refuses_all, statuses=200), ["Content-Encoding: unheard-of"], "application/json"),
    ],
)
def test_what_no_rule_looks_at_is_handed_over_at_once(
    open_driver: OpenDriver, credential: Credential, rule: Any, headers: list[str], kind: str
) -> None:
    gate = Gate()
    body = b"x" * 1_000_000
    with Scripted({"/": lambda: [head(*headers, kind=kind), gate.wait, body]}) as scripted:
        driver = open_driver(credential, origins=scripted.url, arguments={"refused": rule})
        assert b"".join(driver.stream(scripted.url + "/", answered=gate.open)) == body
    assert gate.was_opened


def test_a_stream_of_documents_is_handed_over_after_the_first(open_driver: OpenDriver, credential: Credential) -> None:
    gate, seen = Gate(), list[ApiAnswer]()
    script: Script = [head(CHUNKED), chunk(b'{"kind": "ADD'), chunk(b'ED"}\n'), gate.wait, chunk(b'{"kind": 2}\n'), END]
    with Scripted({"/": lambda: script}) as scripted:
        driver = open_driver(credential, origins=scripted.url, arguments={"refused": looking(seen)})
        pieces = driver.stream(scripted.url + "/", arrived=gate.open)
    assert b"".join(pieces) == b'{"kind": "ADDED"}\n{"kind": 2}\n'
    assert gate.was_opened
    assert seen[0].json() == {"kind": "ADDED"}


def test_a_body_that_never_ends_is_handed_over_after_a_while(open_driver: OpenDriver, credential: Credential) -> None:
    gate, seen = Gate(), list[ApiAnswer]()

    def script() -> Iterator[bytes]:
        yield head(CHUNKED)
        yield chunk(b"[")
        yield from gate.drip()
        yield chunk(b"2]")
        yield END

    with Scripted({"/": script}) as scripted:
        driver = open_driver(credential, origins=scripted.url, arguments={"refused": looking(seen)})
        found = json.loads(b"".join(driver.stream(scripted.url + "/", answered=gate.open)))
    assert gate.was_opened
    assert found[-1] == 2
    assert (seen[0].whole, seen[0].json()) == (False, None)


def test_a_caller_may_leave_in_the_middle(form: type[Driver], credential: Credential) -> None:
    """The connection goes back or is closed, and the next call works; trio minds generators that are left behind."""

    class Enough(Exception):
        pass

    def leave(_: object = None) -> None:
        raise Enough

    with Scripted({"/": lambda: BODIES["/long-chunked"], "/plain": lambda: BODIES["/plain"]}) as scripted:
        options = Options(pool=1, arguments={"refused": looking([])})
        with form(credential, scripted.url, options) as driver:
            with pytest.raises(Enough):
                driver.stream(scripted.url + "/", answered=leave)
            with pytest.raises(Enough):
                driver.stream(scripted.url + "/", arrived=leave)
            assert driver.get(scripted.url + "/plain").body == SMALL


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.cancellable])
def test_a_look_may_be_cancelled(name: str, credential: Credential) -> None:
    gate, arrived = Gate(), threading.Event()
    script: Script = [head(CHUNKED), chunk(b'{"a": '), arrived.set, gate.wait, chunk(b"1}"), END]

    async def until() -> None:
        await anyio.to_thread.run_sync(arrived.wait)
        await steps(20)

    with Scripted({"/": lambda: script, "/plain": lambda: BODIES["/plain"]}) as scripted:
        options = Options(pool=1, arguments={"refused": looking([])})
        with FORMS[name](credential, scripted.url, options) as driver:
            assert driver.cancelled(scripted.url + "/", until)
            assert driver.get(scripted.url + "/plain").body == SMALL
            assert gate.was_opened, "the only connection was taken until the server gave up"
            gate.open()


@pytest.mark.parametrize("name", FORMS)
def test_a_refusal_whose_body_is_long_is_drained_after_the_look(name: str, credential: Credential) -> None:
    refusal = [head(CHUNKED, status=403), chunk(b'{"code": "TOKEN_EXPIRED"}'), *chunks(b" " * 3_000_000, 50_000), END]
    scripts: list[Script] = [refusal, BODIES["/plain"]]
    with Scripted({"/": lambda: scripts.pop(0)}) as scripted:
        options = Options(pool=1, arguments={"refused": RefusedWhen(is_expired, statuses=403)})
        with FORMS[name](credential, scripted.url, options) as driver:
            assert driver.get(scripted.url + "/").body == SMALL
    assert scripted.seen == ["/", "/"]


def is_expired(found: ApiAnswer) -> bool:
    return bool(found.json() == {"code": "TOKEN_EXPIRED"})
