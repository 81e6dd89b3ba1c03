"""README.md is executed: its examples, its commands, and what its tables name."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.package import PACKAGE
from tests.repetition import long

from onerefresh import Credential, Credentials
from onerefresh.cli import build_parser
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.stores import open_store
from onerefresh.testing import AuthServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
FUNCTION, OAUTH, PROCESSES, MANY = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^\$ (.*)$", README, re.MULTILINE)


def start(example: str, server: AuthServer, answer: dict[str, object], folder: Path) -> subprocess.Popen[str]:
    """Run an example of the README as a program, with the test server in place of acme.com."""
    program = f"first_answer = {answer!r}\n{example}".replace("https://acme.com", server.url)
    descriptor, script = tempfile.mkstemp(suffix=".py", dir=folder)  # of its own: another may still be reading one
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(program)
    (folder / "answer.json").write_text(json.dumps(answer))
    environment = {**os.environ, "ACME_SECRET": server.client_secret or "", "ONEREFRESH_STATE": str(folder / "state")}
    return subprocess.Popen([sys.executable, script], cwd=folder, env=environment, text=True, stderr=subprocess.PIPE)


def finish(program: subprocess.Popen[str]) -> str:
    _, said = program.communicate(timeout=60)
    assert program.returncode == 0, said
    return said


def issued_and_revoked(server: AuthServer) -> dict[str, object]:
    answer = server.issue()
    server.revoke_access()
    return answer


@pytest.mark.parametrize("example", [FUNCTION, OAUTH], ids=["a function of your own", "OAuth 2.0"])
def test_a_hundred_calls_of_an_example_send_one_token_request(
    example: str, auth_server: AuthServer, tmp_path: Path
) -> None:
    answer = issued_and_revoked(auth_server)

    finish(start(example, auth_server, answer, tmp_path))

    assert auth_server.counters.api[200] == 100
    assert auth_server.counters.token_requests == 1
    assert auth_server.session == "alive"


def test_the_example_for_several_processes_sends_one_token_request_from_all_of_them(
    auth_server: AuthServer, tmp_path: Path
) -> None:
    answer = issued_and_revoked(auth_server)

    for program in [start(PROCESSES, auth_server, answer, tmp_path) for _ in range(4)]:
        finish(program)

    assert auth_server.counters.api[200] == 100
    assert auth_server.counters.token_requests == 1


def test_the_example_for_several_processes_goes_on_with_the_stored_token_later(
    auth_server: AuthServer, tmp_path: Path
) -> None:
    answer = issued_and_revoked(auth_server)

    finish(start(PROCESSES, auth_server, answer, tmp_path))
    finish(start(PROCESSES, auth_server, answer, tmp_path))

    assert auth_server.counters.token_requests == 1


def test_the_example_for_several_processes_ends_with_exit_code_4_when_the_session_is_over(
    auth_server: AuthServer, tmp_path: Path
) -> None:
    answer = issued_and_revoked(auth_server)
    auth_server.revoke_family()

    program = start(PROCESSES, auth_server, answer, tmp_path)
    program.communicate(timeout=60)

    assert program.returncode == 4
    assert auth_server.counters.token_requests == 1


@pytest.mark.parametrize("kind", ["postgres", *long("redis")])
def test_the_example_for_many_customers_sends_one_token_request_from_all_workers(
    auth_server: AuthServer, new_store: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TOKEN_STORE", new_store(kind))
    answer = issued_and_revoked(auth_server)
    secret = auth_server.client_secret
    login = TokenEndpoint(auth_server.token_url, client_id=auth_server.client_id, client_secret=secret)
    with Credentials(login, store=os.environ["TOKEN_STORE"]) as customers:
        customers["customer-42"].login(answer)

    for program in [start(MANY, auth_server, answer, tmp_path) for _ in range(4)]:
        finish(program)

    assert auth_server.counters.api[200] == 100
    assert auth_server.counters.token_requests == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", ["basedpyright", *long("mypy")])
def test_the_types_of_the_examples_are_right_for_a_strict_checker(tmp_path: Path, checker: str) -> None:
    """The first one as it stands; the others take the first answer from it."""
    for number, example in enumerate([FUNCTION, OAUTH, PROCESSES, MANY]):
        given = "" if number == 0 else "first_answer: dict[str, object] = {}\n"
        (tmp_path / f"example_{number}.py").write_text(given + example)
    source = str(PACKAGE.parent)
    strict = {"include": ["."], "typeCheckingMode": "strict", "extraPaths": [source]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(strict))
    commands = {
        "mypy": ["mypy", "--strict", *map(str, sorted(tmp_path.glob("*.py")))],
        "basedpyright": ["basedpyright", "--pythonpath", sys.executable],
    }
    done = subprocess.run(
        [sys.executable, "-m", *commands[checker]],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_command_of_the_readme_is_one() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    seen = set()
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        seen.add(program)
        if program == "make":
            assert set(arguments) <= set(targets), command
        elif program == "pip":
            name, extras = re.fullmatch(r"(\w+)\[([\w,]+)\]", arguments[1]).groups()  # type: ignore[union-attr]  # or fail
            assert name == project["name"]
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), command
        else:
            assert program == "onerefresh", command
            build_parser(arguments).parse_args(arguments)
    assert seen == {"make", "pip", "onerefresh"}


def test_the_table_of_clients_names_modules_classes_and_extras_that_exist() -> None:
    rows = [line for line in README.splitlines() if "onerefresh.clients." in line and line.startswith("|")]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert len(rows) == 3
    for row in rows:
        module = importlib.import_module(re.findall(r"onerefresh\.clients\.\w+", row)[0])
        assert all(hasattr(module, name) for name in re.findall(r"Bearer\w+", row)), row
        assert re.findall(r"onerefresh\[(\w+)\]", row)[0] in extras, row
    assert all(hasattr(Credential, name) for name in re.findall(r"acme\.(\w+)[`(]", README))


def test_the_stores_of_the_readme_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    named = re.findall(r'`store="([^"]+)"`', README)
    assert named == [
        "memory", "sqlite", "sqlite:///path.db", "postgresql://app@db/app", "redis://cache?durable=yes"
    ]  # fmt: skip
    assert [open_store(url).durable for url in named] == [False, True, True, True, True]


def test_the_links_of_the_readme_and_of_all_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_with_examples_is_executed_by_some_test() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for page in (ROOT / "docs").glob("*.md"):
        if "```python" in page.read_text("utf-8"):
            assert page.name in tests, f"no test executes the examples of docs/{page.name}"


def rows_of(page: Path, mark: str) -> dict[tuple[str, ...], list[str]]:
    """The lines of a measured table, by who and in what."""
    found = re.search(rf"<!-- {mark} -->\n(.*?)<!-- end -->", page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()[2:]]
    return {tuple(line[:2]): line[2:] for line in lines}


def test_the_comparison_of_the_readme_says_what_the_page_of_all_measurements_says() -> None:
    short = rows_of(ROOT / "README.md", "comparison")
    alone = rows_of(ROOT / "docs" / "comparison.md", "expired")
    four = rows_of(ROOT / "docs" / "comparison.md", "processes")
    assert len(short) >= 10
    for who, cells in short.items():
        assert cells == [alone[who][0], alone[who][2], four[who][0], four[who][2], four[who][3]]


def test_onerefresh_answers_every_call_of_the_comparison_with_one_token_request() -> None:
    ours = {who: cells for who, cells in rows_of(ROOT / "README.md", "comparison").items() if "onerefresh" in who[0]}
    assert len(ours) == 2
    assert all(cells == ["1", "100", "1", "100", "alive"] for cells in ours.values())


@pytest.mark.long  # `tests/cli/test_demo.py` sees the same numbers
def test_the_demo_shows_what_the_first_table_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "onerefresh", "demo", "--json"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    names = ["token_requests", "reuse_detected", "answered", "session"]
    table = re.findall(r"^\| [a-z ]+ \| (\w+) \| (\w+) \|$", README, re.MULTILINE)
    assert [str(shown["onerefresh"][name]) for name in names] == [ours for _, ours in table]
    assert shown["usual"]["session"] == table[3][0] == "revoked"
    assert shown["usual"]["reuse_detected"] > 0
    assert shown["usual"]["answered"] < 100
