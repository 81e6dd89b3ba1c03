"""What logs, errors and frames of others keep of a token that stood in a request."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import AsyncIterator, Generator

import pytest

from onerefresh.clients.hiding import empty, mask, silence


class Address:
    """As a client logs it: as an object, and not as a text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f"Address({self._text!r})"

    def __str__(self) -> str:
        return self._text


def test_logs_and_errors_of_others_lose_the_values_of_our_parameters(caplog: pytest.LogCaptureFixture) -> None:
    silence(["some.client"], ["k", "a[b]"])
    silence(["some.client"], ["k"])
    log = logging.getLogger("some.client")
    with caplog.at_level(logging.DEBUG):
        log.debug('%s "%s" %d', "GET", "/c?x=1&k=secret&y=2", 3)
        log.debug(f"headers {[(b'Location', b'/d?a%5Bb%5D=secret')]}")  # noqa: G004 - as clients do
        log.debug("/login?next=%2Fd%3Fk%3Dsecret%26y")
        log.debug({"no": "text"})
        log.debug("%s then %r", Address("/c?k=secret"), Address("/c?k=secret"))
        log.debug("%(url)s", {"url": "/c?k=secret"})
        for name in ("a[b]", "a%5Bb%5D", "a%5bb%5d", "%61[b]", "a%255Bb%255D"):
            log.debug("/c?x=1&%s=secret&y=2", name)
            log.debug("/d?next=/c?%s=secret", name)
    assert "secret" not in "".join(record.getMessage() for record in caplog.records)
    assert "x=1&k=…&y=2" in caplog.text
    assert "/c?x=1&a%5Bb%5D=…&y=2" in caplog.text
    wrong = logging.LogRecord("some.client", logging.DEBUG, "", 1, "%d", ("no number",), None)
    assert log.filter(wrong), "logging itself says what is wrong with it"
    inner = ValueError("cannot reach /c?k=secret (why)")
    outer = ConnectionError(inner, "url /?k=secret")
    outer.url = "/?k=secret"  # type: ignore[attr-defined]  # as clients do
    outer.__cause__ = OSError(5, "/?k=secret")
    mask(outer)
    assert "secret" not in repr([outer, outer.args, vars(outer), outer.__cause__])
    assert "cannot reach /c?k=… (why)" in str(outer)


class Waiting:
    def __await__(self) -> Generator[None, None, None]:
        yield


def test_the_frames_of_a_failed_call_are_emptied_and_those_of_its_caller_go_on() -> None:
    """A task that has handed its error on, and waits, must not end because somebody calls again for that error."""

    async def waits() -> str:
        kept = "kept"
        try:
            raise ValueError
        except ValueError as error:
            given.append(error)
        await Waiting()
        return kept

    def fails(sent: str) -> None:
        raise OSError

    given: list[BaseException] = []
    task = waits()
    task.send(None)
    try:
        raise given[0]
    except ValueError:
        before = sys.exception()
        try:
            fails("secret")
        except OSError as error:
            empty(error, before)
            failed = error
    with pytest.raises(StopIteration) as ended:
        task.send(None)
    assert ended.value.value == "kept"
    frames = [frame for frame, _ in traceback.walk_tb(failed.__traceback__) if frame.f_code.co_name == "fails"]
    assert [frame.f_locals for frame in frames] == [{}]


def test_tasks_that_share_one_error_all_go_on() -> None:
    """A transport may remember a failure and raise it again, in other tasks: those before have handled it, and wait."""
    remembered = ConnectionError("down")
    rounds = 3

    async def call(secret: str) -> None:
        raise remembered

    async def task(number: int) -> int:
        before = sys.exception()
        try:
            await call("secret")
        except ConnectionError as error:
            empty(error, before)
            if number == 1:
                await Waiting()
                return number
        async for item in waits():
            number += item
        return number

    async def waits() -> AsyncIterator[int]:
        try:
            await call("secret")
        except ConnectionError as error:
            empty(error, None)
        await Waiting()
        yield 0

    tasks = [task(number) for number in range(rounds)]
    for one in tasks:
        one.send(None)
    ended = []
    for one in tasks:
        with pytest.raises(StopIteration) as stopped:
            one.send(None)
        ended.append(stopped.value.value)
    assert ended == [0, 1, 2]
    frames = [frame for frame, _ in traceback.walk_tb(remembered.__traceback__) if frame.f_code.co_name == "call"]
    assert [frame.f_locals for frame in frames] == [{}] * len(frames)
    assert frames
