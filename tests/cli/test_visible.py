"""Nothing that the command prints is obeyed by a terminal, or looks like a line of its own, and nothing is absurd."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import pty
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from onerefresh import config, errors
from onerefresh.cli import build_parser, main
from onerefresh.cli.fetch_calls import Call, Result
from onerefresh.cli.fetch_files import PrintedBody
from onerefresh.cli.fetch_show import Show
from onerefresh.cli.output import Shown, say, write_body, write_lines
from onerefresh.failure import Failure
from onerefresh.record import Entry
from onerefresh.record_text import decode, encode
from onerefresh.redaction import visible
from onerefresh.verdict import FailureKind

from .conftest import Home

EVIL = (
    "read\x1b[2J\x1b]0;title\x07\x1b[1A\r\nforged line\x0b\x0c\x1c\x85\u2028\u2029\u202edrow\u2066\u200b\u00ad"
    "\x7f\x9b31m\ufeff\ud800\U000e0041"
)


def assert_harmless(said: str) -> None:
    for line in said.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not line.startswith(("forged", "onerefresh: forged"))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def logged_in(home: Home, given: Callable[[str], None], **fields: object) -> None:
    given(json.dumps({**home.server.issue(), **fields}))
    assert main(["login", "acme", "--with-token"]) == 0


def test_the_characters_of_this_test_are_all_shown_escaped() -> None:
    assert visible("plain é ✓") == "plain é ✓"
    assert visible("\x1b[2J\n\u202e\ud800\U000e0041") == r"\x1b[2J\n\u202e\ud800\U000e0041"


@pytest.mark.parametrize(
    "command", [["status"], ["status", "acme"], ["status", "acme", "--json"], ["token", "acme", "--json"]]
)
def test_a_scope_is_shown_and_not_obeyed(
    home: Home, given: Callable[[str], None], capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    logged_in(home, given, scope=EVIL, expires_in=3600)
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert_harmless(out + err)
    assert (r"\x1b[2J" in out) == (command == ["status", "acme"])


@pytest.mark.parametrize("lifetime", [1e12, 1e308, "1e15", 10**300])
def test_an_absurd_lifetime_is_a_date(
    home: Home, given: Callable[[str], None], capfd: pytest.CaptureFixture[str], lifetime: object
) -> None:
    logged_in(home, given, expires_in=lifetime)
    for command in (["status"], ["status", "acme"], ["status", "acme", "--json"]):
        assert main(command) == 0
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert len(max((out + err).split("\n"), key=len)) < 300


def rewritten(home: Home, detail: str) -> None:
    """As another program, or an earlier version, may have written it."""
    store = config.read().named("acme").open()._memory.store
    found = store.load("acme")
    assert found is not None
    record = decode(found.body, "acme")
    failure = Failure(FailureKind.UNAVAILABLE, detail, 1, 1_900_000_000.0, 60.0)
    entries = (Entry(1, 0.0, detail), Entry(1, 250_000_000_000.0, detail))
    store.cas("acme", found.version, encode(replace(record, failure=failure, history=entries)))


def test_a_record_is_shown_and_not_obeyed(
    home: Home, given: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    logged_in(home, given)
    rewritten(home, EVIL)
    for command in (["status"], ["status", "acme"], ["--debug", "token", "acme", "--refused", "1"], ["retry", "acme"]):
        main(command)
    out, err = capfd.readouterr()
    assert_harmless(out + err)
    assert "9892" in out


# --- Everything else that is printed ---


def test_lines_and_messages_are_one_line_each(capfd: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    write_lines([EVIL, "second"])
    out, err = capfd.readouterr()
    assert_harmless(out + err)
    assert (out.count("\n"), err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "arguments",
    [["status", EVIL], ["token", "acme", EVIL], [EVIL], ["fetch", "acme", "--" + EVIL], ["demo", "--calls", EVIL]],
)
def test_arguments_are_repeated_harmlessly(home: Home, capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main([argument.replace("\ud800", "") for argument in arguments]) == 2
    out, err = capfd.readouterr()
    assert_harmless(out + err)


def failing(error: BaseException) -> Callable[[argparse.Namespace], NoReturn]:
    def run(args: argparse.Namespace) -> NoReturn:
        logging.getLogger("onerefresh").error("logged: %s", EVIL, exc_info=error)

        def fail() -> NoReturn:
            raise error

        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        raise error

    return run


@pytest.mark.parametrize(
    "error", [errors.StoreUnavailable(EVIL, credential=EVIL), ValueError(EVIL)], ids=["ours", "theirs"]
)
@pytest.mark.parametrize("more", [[], ["--debug"]], ids=["", "debug"])
def test_errors_tracebacks_and_logs_are_shown_and_not_obeyed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, more: list[str]
) -> None:
    monkeypatch.setattr("onerefresh.cli.status.run", failing(error))
    monkeypatch.setattr(logging.getLogger("onerefresh"), "propagate", False)  # no report of xdist can hold a surrogate
    assert main([*more, "status"]) == 1
    out, err = capfd.readouterr()
    assert_harmless(out + err)
    assert "forged line" in err


def test_each_command_has_a_parser_that_shows_its_messages() -> None:
    parsers = [build_parser()]
    for parser in parsers:
        assert type(parser).__name__ == "Parser"
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    assert len(parsers) > 9


@pytest.mark.parametrize("prints_body", [False, True])
def test_what_fetch_reports_is_shown_and_not_obeyed(capfd: pytest.CaptureFixture[str], prints_body: bool) -> None:
    show = Show(2, prints_body=prints_body)
    show.report(Result(Call(f"https://api.example/{EVIL}", Path(EVIL)), 200, 5))
    show.report(Result(Call(f"https://api.example/{EVIL}"), None, 5, f"read error: {EVIL}"))
    out, err = capfd.readouterr()
    assert_harmless(out + err)


# --- Bodies ---


def test_a_body_is_written_as_it_is_where_a_program_reads_it(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    body = PrintedBody()
    body.write(EVIL.encode("utf-8", "replace")[:7])
    body.write(b"\xff\x00")
    assert capfdbinary.readouterr().out == EVIL.encode("utf-8", "replace")[:7] + b"\xff\x00"


def test_a_body_is_shown_and_not_obeyed_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    body = (EVIL.replace("\ud800", "") + "\nsecond\tline é\n").encode() + b"\xff\n"
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        printed = PrintedBody()
        for at in range(len(body)):  # each byte alone: characters may come in parts
            printed.write(body[at : at + 1])
        monkeypatch.undo()
        said = b""
        while b"line \xc3\xa9" not in said:  # a terminal gives what it has by then
            said += os.read(ours, 65_536)
    os.close(ours)
    lines = said.decode().replace("\r\n", "\n").split("\n")
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert b"\x1b" not in said


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_standard_output_cannot_write_is_escaped(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """It ended in a traceback that called it a defect of onerefresh."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    write_lines(["read 中"])
    write_body("€".encode(), Shown())
    assert written.getvalue() == b"read \\u4e2d\n\\u20ac"
