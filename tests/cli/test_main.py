"""What all commands have in common: arguments, exit codes, words."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys

import pytest

import onerefresh
from onerefresh import errors
from onerefresh.cli import COMMANDS, build_parser, main
from onerefresh.cli.failure import exit_code, explain
from onerefresh.cli.words import amount, life, size

from .conftest import Home

Exit = tuple[int, str]


def subparsers_of(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


class TestArguments:
    def test_the_short_parser_lists_the_same_commands_as_the_whole_one(self) -> None:
        listed = [
            [(choice.metavar, choice.help) for choice in subparsers_of(parser)._choices_actions]
            for parser in (build_parser([]), build_parser())
        ]
        assert listed[0] == listed[1]
        assert [str(name).partition(" ")[0] for name, _ in listed[0]] == list(COMMANDS)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_explains_itself(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([name, "--help"]) == 0
        shown = capsys.readouterr()
        assert shown.out.startswith(f"usage: onerefresh {name} ")
        assert shown.err == ""
        assert max(map(len, shown.out.splitlines())) <= 120

    def test_help_tells_how_to_begin_and_what_exit_codes_mean(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        out = capsys.readouterr().out
        assert all(f"    {name} " in out for name in COMMANDS)
        assert "[credentials.acme]" in out
        assert "4 log in (again); 75 try again later" in out

    def test_the_version_is_the_packages(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"onerefresh {onerefresh.__version__}\n"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "the following arguments are required: COMMAND"),
            (["tokn", "acme"], "invalid choice: 'tokn'"),
            (["token"], "the following arguments are required: NAME"),
            (["token", "acme", "beta"], "unrecognized arguments: beta"),
            (["token", "acme", "--jsn"], "unrecognized arguments: --jsn"),
            (["token", "acme", "--js"], "unrecognized arguments: --js"),
            (["fetch", "acme", "--output", "x", "https://a.example", "--depth"], "unrecognized arguments:"),
            (["demo", "--json", "--mermaid"], "not allowed with argument --json"),
            (["demo", "--workers", "0"], "must be a whole number from 1 to 16"),
            (["demo", "--calls", "1"], "must be a whole number from 2 to 200"),
        ],
    )
    def test_wrong_usage_is_told(self, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(arguments) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert said in shown.err

    @pytest.mark.parametrize("place", ["before", "after"])
    def test_the_configuration_may_be_named_before_and_after_the_command(
        self, place: str, home: Home, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = home.folder / "other.toml"
        home.config.rename(other)
        named = ["--config", str(other)]
        assert main([*named, "status", "acme"] if place == "before" else ["status", "acme", *named]) == 4
        assert "no token yet" in capsys.readouterr().out

    def test_a_missing_configuration_says_where_it_is_looked_for(
        self, home: Home, capsys: pytest.CaptureFixture[str]
    ) -> None:
        home.config.unlink()
        assert main(["token", "acme"]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"onerefresh: there is no configuration file {home.config}: create it")

    def test_it_leaves_logging_as_it_was(self, home: Home) -> None:
        logger = logging.getLogger("onerefresh")
        before = (logger.level, list(logger.handlers))
        main(["--debug", "status", "acme"])
        assert (logger.level, logger.handlers) == before

    def test_debug_shows_where_it_failed(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["token", "acme", "--debug"]) == 4
        assert "Traceback (most recent call last)" in capsys.readouterr().err
        assert main(["token", "acme"]) == 4
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("unmeasured")
def test_importing_the_package_imports_nothing_slow() -> None:
    script = (
        "import sys, onerefresh.cli; print(sorted({'httpx2', 'ssl', 'asyncio', 'rich', 'sqlite3'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("error", "code", "advice"),
    [
        (
            errors.LoginRequired("over", credential="a"),
            4,
            "; pipe a new token response into: onerefresh login a --with-token",
        ),
        (errors.InteractionRequired("more"), 4, "; log in as the server demands, then: onerefresh login NAME"),
        (
            errors.LoginRequired("no", proven=False),
            4,
            "; pipe a new token response into: onerefresh login NAME --with-token; or: onerefresh retry NAME",
        ),
        (errors.ClientRejected("no"), 1, "; correct the configuration file"),
        (errors.RequestRejected("no"), 1, "; correct the configuration file"),
        (errors.RefreshUnavailable("down", retry_after=12.4), 75, "; try again in 12 s"),
        (errors.RefreshUnavailable("down", retry_after=0.2), 75, "; try again in a second"),
        (errors.RefreshUnavailable("down"), 75, "; try again later"),
        (
            errors.RefreshOutcomeUnknown("lost"),
            75,
            "; onerefresh status NAME shows when it is sent again; to send it now: onerefresh retry NAME",
        ),
        (errors.RefreshProtocolError("odd"), 1, "; this is a fault of the server: report it to its operator"),
        (errors.RefresherFailed("raised"), 1, "; correct the refresher; use --debug to see where it failed"),
        (errors.WaitTimeout("slow"), 75, "; try again, or set a longer max_wait for this credential"),
        (errors.StoreUnavailable("full: delete something"), 1, ""),
        (errors.SaveFailed("no"), 1, ""),
        (errors.ConfigurationError("write x = 1"), 2, ""),
        (errors.CredentialMoved("moved to sqlite:///new.db"), 2, ""),
        (errors.CredentialClosed("closed"), 1, ""),
        (errors.OnerefreshError("else"), 1, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_has_its_exit_code_and_says_who_must_act(
    error: errors.OnerefreshError, code: int, advice: str
) -> None:
    assert exit_code(error) == code
    said = explain(error)
    assert said.startswith(f"{error}{advice}")
    assert bool(advice) == (";" in said)


def test_every_public_error_is_in_that_table() -> None:
    table = next(mark for mark in test_each_error_has_its_exit_code_and_says_who_must_act.pytestmark)  # type: ignore[attr-defined]  # pytest puts it there
    assert {type(row[0]).__name__ for row in table.args[1]} == set(errors.__all__)


def test_an_explanation_is_one_line() -> None:
    assert explain(errors.StoreUnavailable("first\n  second")) == "first second"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_spans_of_time(seconds: float, said: str) -> None:
    assert amount(seconds) == said


@pytest.mark.parametrize(
    ("expires_at", "said"),
    [
        (None, "is used until the API refuses it"),
        (1060.0, "expires in 60 s"),
        (1000.0, "expired 0 s ago"),
        (400.0, "expired 10 min ago"),
    ],
)
def test_what_is_left_of_a_token(expires_at: float | None, said: str) -> None:
    assert life(expires_at, 1000.0) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (2 * 10**15, "2000.0 TB"),
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert size(count) == said


def test_ctrl_c_while_a_command_is_loaded_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onerefresh.cli.build_parser", interrupted)
    assert main(["token", "acme"]) == 130
    assert capsys.readouterr().err == "onerefresh: interrupted\n"
