"""`onerefresh demo`: what it shows is what happened."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from onerefresh.cli.demo_diagram import diagram
from onerefresh.cli.demo_run import Finished
from onerefresh.testing import Entry

from .conftest import Home


@pytest.mark.long
@pytest.mark.slow
def test_a_hundred_calls_as_usually_written_and_through_onerefresh(home: Home) -> None:
    done = home.run("demo", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    usual, ours = shown.pop("usual"), shown.pop("onerefresh")
    assert shown == {"workers": 4, "calls_per_worker": 25}
    for run in (usual, ours):
        assert run.pop("seconds") > 0
        assert all(run[what]["longest"] >= run[what]["median"] > 0 for what in ("waited_for_refresh", "waited_for_api"))
        del run["waited_for_refresh"], run["waited_for_api"]
    assert ours == {
        "calls": 100,
        "answered": 100,
        "token_requests": 1,
        "reuse_detected": 0,
        "session": "alive",
        "refused": 52,
        "problems": {},
    }
    # One process is the first; each call of the others tries the spent refresh token once more.
    assert (usual["calls"], usual["token_requests"], usual["reuse_detected"]) == (100, 40, 39)
    assert (usual["session"], usual["refused"]) == ("revoked", 52)
    assert usual["answered"] + sum(usual["problems"].values()) == 100
    assert usual["problems"]["the token endpoint answered 400"] == 39
    assert "with onerefresh: token revoked during 52 calls\n" in done.stderr


@pytest.mark.long
@pytest.mark.slow
def test_without_options_it_prints_tables(home: Home) -> None:
    done = home.run("demo", "--workers", "2", "--calls", "3")
    assert done.returncode == 0, done.stderr
    rows = {
        cells[0]: cells[1:] for line in done.stdout.splitlines() if len(cells := re.split(r"\s{2,}", line.strip())) == 3
    }
    assert rows["calls answered"][1] == "6 of 6"
    assert rows["token requests"] == ["3", "1"]
    assert rows["refresh tokens used twice"] == ["2", "0"]
    assert rows["session"] == ["revoked", "alive"]
    assert rows["calls that were refused"] == ["4", "4"]
    assert re.fullmatch(r"\d+\.\d\d s, at most \d+\.\d\d s", rows["waiting for the refresh"][1])
    assert (
        "usual code: the server received a refresh token that had already been used, and ended the session"
        in done.stdout
    )


@pytest.mark.long
@pytest.mark.slow
def test_one_worker_alone_gets_along_the_usual_way_too(home: Home) -> None:
    done = home.run("demo", "--workers", "1", "--calls", "2", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [shown[way]["answered"] for way in ("usual", "onerefresh")] == [2, 2]
    assert [shown[way]["session"] for way in ("usual", "onerefresh")] == ["alive", "alive"]


@pytest.mark.long
@pytest.mark.slow
def test_the_diagram_shows_one_refresh_for_calls_of_two_processes(home: Home) -> None:
    done = home.run("demo", "--mermaid", "--workers", "2", "--calls", "6")
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "sequenceDiagram"
    named = [re.fullmatch(r"participant (C\d) as call \d \(process (\d)\)", line) for line in lines[1:4]]
    assert [match and match[1] for match in named] == ["C1", "C2", "C3"]
    first, second, other = [match[2] for match in named if match]
    assert first == second != other
    assert lines.count("R->>T: refresh token") == 1
    starts = lines.index("C1->>R: generation 1 was refused (starts the refresh)")
    request, answer = lines.index("R->>T: refresh token"), lines.index("T-->>R: 200 generation 2")
    assert lines.index("A-->>C1: 401 refused") < starts < request < answer
    for call in ("C1", "C2", "C3"):
        own = [
            line for line in lines if line.startswith(f"{call}-") or line.endswith(f">{call}") or f">{call}:" in line
        ]
        kinds = [re.sub(r" \(.*", "", line) for line in own]
        assert kinds == [
            f"{call}->>A: GET, generation 1",
            f"A-->>{call}: 401 refused",
            f"{call}->>R: generation 1 was refused",
            f"R-->>{call}: generation 2",
            f"{call}->>A: GET again, generation 2",
            f"A-->>{call}: 200 OK",
        ]
        assert lines.index(f"R-->>{call}: generation 2") > answer
    assert lines[7] == "Note over C1,A: 6 calls were answered earlier"
    assert lines[-1] == "Note over C1,A: 3 more calls were refused, and answered after the same refresh"


@pytest.mark.long
@pytest.mark.slow
def test_on_a_terminal_it_shows_how_far_it_is(home: Home) -> None:
    parent, child = pty.openpty()
    with subprocess.Popen(
        home.command("demo", "--workers", "2", "--calls", "2"),
        env={**home.environment, "TERM": "xterm-256color", "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=child,
        stderr=child,
    ) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                shown += os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
    os.close(parent)
    assert process.returncode == 0
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    assert re.search(r"with onerefresh\s+━+\s+4/4 done", plain)
    assert max(len(line) for line in re.split(r"[\r\n]+", plain)) <= 80
    assert b"\x1b[31mrevoked" in re.sub(rb" +", b"", shown)


def test_without_its_extra_it_says_how_to_install_it(home: Home) -> None:
    script = "import sys; sys.modules['httpx2'] = None; from onerefresh.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=home.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "onerefresh: onerefresh demo needs httpx2: run pip install 'onerefresh[cli]'\n"


@pytest.mark.seconds
def test_a_worker_that_dies_is_told(home: Home) -> None:
    script = """
import sys
from onerefresh.cli import demo_run, main
job = demo_run._job
demo_run._job = lambda *arguments: {**job(*arguments), "way": "usual", "file": "/nowhere/token.json"}
sys.exit(main(["demo", "--workers", "1", "--calls", "2"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=home.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "FileNotFoundError" in done.stderr
    assert done.stderr.endswith("onerefresh: worker process 1 of the demo has died; its own output is above\n")


def call(name: str, problem: str = "") -> dict[str, object]:
    return {"kind": "call", "call": name, "problem": problem, "api": 0.1, "refresh": 0.1, "process": 1}


@pytest.mark.parametrize(
    ("changes", "is_well"),
    [
        ({}, True),
        ({"token_requests": 2, "refreshes": 2}, True),
        ({"messages": [call("1.1")]}, False),
        ({"messages": [call("1.1"), call("1.2", "the API answered 401")]}, False),
        ({"token_requests": 2}, False),
        ({"token_requests": 0, "refreshes": 0}, False),
        ({"reuse_detected": 1}, False),
        ({"session": "revoked"}, False),
    ],
)
def test_a_run_is_well_only_if_every_promise_was_kept(changes: dict[str, object], is_well: bool) -> None:
    fields: dict[str, object] = {
        "calls": 2,
        "messages": [call("1.1"), call("1.2")],
        "token_requests": 1,
        "refreshes": 1,
        "session": "alive",
    }
    assert Finished(**{**fields, **changes}).is_well is is_well  # type: ignore[arg-type]  # a table of fields


def test_the_diagram_shows_what_the_log_says_even_if_it_went_wrong() -> None:
    def entry(number: int, kind: str, outcome: str, status: int, call: str | None = None) -> Entry:
        at = float(number)
        return Entry(number, at, at + 0.5, kind, "GET", "/", call, None, None, 1, outcome, status)  # type: ignore[arg-type]

    run = Finished(
        1,
        messages=[
            {"kind": "event", "event": "claimed", "process": 1},
            {"kind": "waited", "call": "1.1", "process": 1, "refused": 1, "asked": 1.7, "generation": 2, "got": 4.0},
            call("1.1", "the API answered 401"),
        ],
        revoked_at=1.2,
        log=[
            entry(1, "api", "refused", 401, "1.1"),
            entry(2, "token", "reuse", 400),
            entry(3, "token", "reuse", 400),
            entry(5, "api", "refused", 401, "1.1"),
        ],
    )
    assert diagram(run).splitlines()[5:] == [
        "    Note over C1,A: 0 calls were answered earlier",
        "    C1->>A: GET, generation 1",
        "    Note over C1,A: the access token is revoked",
        "    A-->>C1: 401 refused",
        "    C1->>R: generation 1 was refused (starts the refresh)",
        "    R->>T: refresh token",
        "    T-->>R: 400 reuse",
        "    R->>T: refresh token",
        "    T-->>R: 400 reuse",
        "    R-->>C1: generation 2",
        "    C1->>A: GET again, generation 1",
        "    A-->>C1: 401 refused",
        "    Note over C1,A: 0 more calls were refused, and answered after the same refresh",
    ]
