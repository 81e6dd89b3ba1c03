"""`docs/cli.md` is executed: its commands, and what its tables say."""

from __future__ import annotations

import argparse
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from onerefresh.cli import COMMANDS, build_parser, failure
from onerefresh.config import file as config

from .conftest import SECRET, Home

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
COMMON = {"-h", "--help", "--config", "--debug"}

# In the guide the API is asked with curl; a machine that runs the tests may have none.
CURL = """
import sys, urllib.request
arguments = sys.argv[1:]
name, _, value = arguments[arguments.index("-H") + 1].partition(": ")
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(urllib.request.Request(arguments[-1], headers={name: value})).read().decode())
"""


def table(first: str) -> dict[str, str]:
    """The rows of the table whose head begins with this, as name and text."""
    head = GUIDE.index(f"\n\n| {first} |") + 2  # a head has no row above it
    rows = GUIDE[head:].partition("\n\n")[0].splitlines()[2:]
    return {cells[1].strip().strip("`"): cells[2].strip() for cells in (row.split("|", 2) for row in rows)}


def parser_of(name: str) -> argparse.ArgumentParser:
    found = build_parser()
    for word in name.split():
        subparsers = next(action for action in found._actions if isinstance(action, argparse._SubParsersAction))
        found = subparsers.choices[word]
    return found


@pytest.mark.parametrize("name", ["login", "status", "logout", "token", "fetch", "demo", "store init", "store copy"])
def test_every_option_is_told_and_no_other_one(name: str) -> None:
    options = {
        option: action
        for action in parser_of(name)._actions
        for option in action.option_strings
        if option not in COMMON
    }
    told = table(f"`{name}`")
    assert list(told) == list(options)
    for option, action in options.items():
        if isinstance(action.default, int) and action.default > 1:
            assert f"({action.default})" in told[option]


def test_purge_has_no_options() -> None:
    assert {option for action in parser_of("purge")._actions for option in action.option_strings} == COMMON
    assert set(table("option")) == COMMON - {"-h", "--help"}


def test_every_command_and_every_key_of_the_file_is_told() -> None:
    assert all(f"onerefresh {name}" in GUIDE for name in COMMANDS)
    assert set(table("key")) == {*config._KEYS, "provider"}


def test_the_accounts_of_one_provider_are_credentials() -> None:
    _, accounts = FILES
    found = config.parse(accounts, ROOT / "onerefresh.toml")
    assert {name: entry.endpoint.get("scope") for name, entry in found.entries.items()} == {
        "work": None,
        "home": "read",
    }


def test_every_exit_code_is_told() -> None:
    codes = {failure.OTHER, failure.USAGE, failure.LOG_IN, failure.TRY_LATER, failure.INTERRUPTED}
    assert {int(code) for code in table("exit code")} == codes | {0}


def test_the_extra_that_is_to_be_installed_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"pip install 'onerefresh\[(\w+)\]'", GUIDE)) == {"cli"} <= set(extras)


@pytest.fixture
def reader(home: Home) -> Home:
    """A home in which the guide's commands can be run as they stand there, against the test server."""
    text = FILES[0].replace("https://login.acme.com/token", home.server.token_url)
    text = text.replace("https://api.acme.com", home.origin).replace('"cli"', '"client"')
    home.config.write_text(text)
    programs = home.folder / "bin"
    programs.mkdir()
    (programs / "curl.py").write_text(CURL)
    for name, arguments in (("onerefresh", "-m onerefresh"), ("python3", ""), ("curl", f"'{programs}/curl.py'")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -P {arguments} "$@"\n')
        (programs / name).chmod(stat.S_IRWXU)
    home.environment |= {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "ACME_SECRET": SECRET}
    (home.folder / "answer.json").write_text(json.dumps(home.server.issue()))
    (home.folder / "urls.txt").write_text("".join(f"{home.server.api_url}/items/{number}\n" for number in range(60)))
    return home


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)  # many processes, one after the other
def test_the_commands_in_the_guide_run_one_after_the_other(reader: Home) -> None:
    lines = [line for line in re.findall(r"^\$ (.*)$", GUIDE, re.MULTILINE) if not line.startswith("pip ")]
    assert len(lines) == 17
    printed = {}
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", f"set -e -o pipefail; {line}".replace("https://api.acme.com", reader.server.api_url)],
            env=reader.environment,
            cwd=reader.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        printed[line] = done.stdout
    assert len(list((reader.folder / "items").iterdir())) == 60
    (calls,) = (shown for line, shown in printed.items() if line.startswith("curl "))
    assert json.loads(calls)["path"] == "/api/items/1"
    (tokens,) = (shown.split() for line, shown in printed.items() if line.startswith("seq "))
    assert (len(tokens), len(set(tokens))) == (8, 1)
    (newer,) = (shown.strip() for line, shown in printed.items() if "--refused" in line)
    assert newer != tokens[0]
    assert reader.server.counters.token_requests == 1
