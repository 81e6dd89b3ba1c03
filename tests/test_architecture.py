"""The rooms: imports point one way, public names are few, and importing one thing needs nothing of another's."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onerefresh

SOURCE = Path(onerefresh.__file__).parent

RANKS = {
    "errors": 0,
    "answers": -1,
    "expiry": 0,
    "chance": 0,
    "this_process": 0,
    "log_limit": 0.5,
    "limited_log": 0.7,
    "real_time": 0,
    "redaction": 0,
    "bodies": 1,
    "whose": 0,
    "one_object": 0,
    "interpreter": 0,
    "locks": 1,
    "latches": 2,
    "threads": 3,
    "safe_folders": 1,
    "secret": 1,
    "token": 1.5,
    "bearer_field": 1.7,
    "token_response": 2,
    "private_files": 2,
    "policy": 2,
    "profile": 2.5,
    "verdict": 2,
    "judge_answer": 3,
    "judge_exception": 4,
    "events": 2,
    "announcing": 4,
    "store_clock": 0,
    "unknown_fields": 0,
    "refresh_rate": 2.5,
    "damping": 2.5,
    "failure": 2.7,
    "record": 3,
    "stored_values": 3,
    "stored_fields": 4,
    "succession": 4,
    "transitions": 4,
    "store": 4,
    "record_text": 5,
    "renewal": 5,
    "foreign": 6,
    "spool": 6,
    "loops": 6,
    "running_loop": 0,
    "wakers": 5,
    "refresher": 6,
    "losses": 6,
    "loss_reports": 7,
    "host_limiter": 6,
    "store_reads": 7,
    "circuit": 6,
    "outages": 6,
    "telling": 7,
    "stores": 7,
    "flight": 7,
    "user_code": 7,
    "pacing": 1,
    "hiring": 0,
    "processor_load": 1,
    "last_look": 2,
    "worker": 1,
    "pause": 3,
    "timekeeper": 4,
    "workers": 5,
    "tasks": 6,
    "wakeups": 5,
    "run": 7,
    "move_run": 8,
    "admission": 8,
    "stored_record": 8,
    "runner": 9,
    "moving": 10,
    "credential": 11,
    "credentials": 12,
    "clients": 13,
    "oauth2": 13,
    "observe": 13,
    "endpoints": 14,
    "config": 15,
    "testing": 16,
    "cli": 17,
}

EXTRAS = {
    "onerefresh.clients.httpx": {"httpx2", "httpx"},
    "onerefresh.clients.httpx_flow": {"httpx2", "httpx"},
    "onerefresh.clients.httpx_messages": {"httpx2", "httpx"},
    "onerefresh.clients.httpx_peek": {"httpx2", "httpx"},
    "onerefresh.clients.requests": {"requests"},
    "onerefresh.clients.requests_call": {"requests"},
    "onerefresh.clients.requests_peek": {"requests"},
    "onerefresh.clients.requests_retries": {"requests"},
    "onerefresh.clients.aiohttp": {"aiohttp"},
    "onerefresh.clients.aiohttp_peek": {"aiohttp"},
    "onerefresh.clients.google_auth": {"google"},
    "onerefresh.clients.azure": {"azure"},
    "onerefresh.clients.azure_credentials": {"azure"},
    "onerefresh.clients.grpc": {"grpc"},
    "onerefresh.clients.grpc_aio": {"grpc"},
    "onerefresh.clients.grpc_call": {"grpc"},
    "onerefresh.clients.websockets": {"websockets"},
    **{
        f"onerefresh.stores.postgres.{part}": {"psycopg"}
        for part in ("address", "connections", "exchange", "notifier", "own_connections", "pooled_connections", "store")
    },
    "onerefresh.testing.plugin": {"pytest"},
    "onerefresh.testing.stores.contract": {"pytest", "hypothesis"},
    "onerefresh.testing.stores.failing_contract": {"pytest", "hypothesis"},
    "onerefresh.testing.stores.machine": {"hypothesis"},
    "onerefresh.testing.stores.removal": {"pytest"},
    # The commands `demo` and `fetch` import their parts only after they have looked for the extra `cli`.
    **{
        f"onerefresh.cli.{part}": {"httpx2", "httpx", "rich"}
        for part in (
            "demo_diagram",
            "demo_run",
            "demo_show",
            "demo_usual",
            "demo_worker",
            "fetch_calls",
            "fetch_transport",
        )
    },
}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.name != "__main__.py")


def imported_rooms(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("onerefresh"):
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            yield from ((name, node.lineno) for name in names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("onerefresh."):
                    yield alias.name.split(".")[1], node.lineno


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return  # the public face names what others define, lazily
    for imported, line in imported_rooms(path):
        if imported not in RANKS:  # a public name of the package itself
            assert room in ("testing", "cli"), f"{path.name}:{line}: import from the room, not from the package"
            continue
        assert imported == room or RANKS[imported] < RANKS[room], f"{path.name}:{line}: {room} imports {imported}"


OUTSIDE_THE_CORE = {"cli", "clients", "config", "endpoints", "oauth2", "observe", "stores", "testing"}
MOST_LINES = 310


def test_no_file_of_the_core_is_long() -> None:
    """A file has one idea. One that grows has two, or says the one at too much length."""
    lines = {
        str(path.relative_to(SOURCE)): len(path.read_text("utf-8").splitlines())
        for path in modules()
        if room_of(path) not in OUTSIDE_THE_CORE
    }
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def siblings(folder: str) -> list[Path]:
    return sorted(path for path in (SOURCE / folder).glob("*.py") if path.stem != "__init__")


RULES_OF_CLIENTS = [
    "origins", "challenge", "attach", "places", "hiding", "replay", "decoding", "peek", "rule", "refused", "bearer",
    "call", "httpx_messages", "httpx_peek", "httpx_flow", "requests_peek", "requests_call", "aiohttp_peek",
    "requests_retries", "google_auth_given", "azure_credentials", "grpc_call", "grpc_aio",
    "niquests_modes",
]  # fmt: skip
"""What all clients share: each imports only what stands before it, and no client."""


@pytest.mark.parametrize("path", siblings("clients"), ids=lambda path: path.stem)
def test_a_client_imports_no_other_client(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    found = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    of_clients = {module.partition("onerefresh.clients.")[2] for module in found if "onerefresh.clients" in module}
    is_rule = path.stem in RULES_OF_CLIENTS
    allowed = RULES_OF_CLIENTS[: RULES_OF_CLIENTS.index(path.stem)] if is_rule else RULES_OF_CLIENTS
    assert of_clients <= set(allowed)


def test_the_public_names_are_these() -> None:
    assert onerefresh.__all__ == [
        "Answer",
        "ClientRejected",
        "ConfigurationError",
        "Credential",
        "CredentialClosed",
        "CredentialMoved",
        "Credentials",
        "InteractionRequired",
        "LoggedOut",
        "LoginRequired",
        "OnerefreshError",
        "Profile",
        "RefreshOutcomeUnknown",
        "RefreshProtocolError",
        "RefreshUnavailable",
        "RefresherFailed",
        "RequestRejected",
        "SaveFailed",
        "Secret",
        "Status",
        "Store",
        "StoreUnavailable",
        "Token",
        "WaitTimeout",
        "load",
    ]
    for name in onerefresh.__all__:
        assert getattr(onerefresh, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(onerefresh, "nothing")  # noqa: B009 - the attribute is missing on purpose


def every_module_name() -> list[str]:
    names = []
    for path in modules():
        parts = ["onerefresh", *path.relative_to(SOURCE).with_suffix("").parts]
        names.append(".".join(parts).removesuffix(".__init__"))
    return names


BLOCKER = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root.startswith("_sysconfigdata"):  # the standard library's, named after the platform
            return None
        if root not in sys.stdlib_module_names and root != "onerefresh" and root not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)
        return None
ALLOWED = None
for name, allowed in WANTED:
    if allowed != ALLOWED:  # else whatever is there already was allowed for this module, too
        for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] not in sys.stdlib_module_names]:
            if loaded != "__main__":
                del sys.modules[loaded]
    ALLOWED = allowed
    finder = Blocker()
    sys.meta_path.insert(0, finder)
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(f"{name} needs {error.name}")
    finally:
        sys.meta_path.remove(finder)
"""
BROUGHT_BY = {
    "httpx2": {"httpcore2", "h11", "anyio", "idna", "certifi", "truststore", "typing_extensions", "sniffio"},
    "httpx": {"httpcore", "h11", "anyio", "idna", "certifi", "typing_extensions", "sniffio"},
    "requests": {"urllib3", "idna", "certifi", "charset_normalizer", "chardet", "simplejson"},
    "aiohttp": {
        "aiohappyeyeballs", "aiosignal", "attr", "attrs", "frozenlist", "multidict", "propcache", "yarl", "idna",
        "typing_extensions", "pydantic_core", "annotated_types",
    },
    "google": {"cryptography", "cffi", "_cffi_backend", "pyasn1", "pyasn1_modules"},
    "azure": {"requests", "urllib3", "idna", "certifi", "charset_normalizer", "typing_extensions"},
    "grpc": {"typing_extensions"},
    "pytest": {"_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py"},
    "hypothesis": {"_hypothesis_globals", "sortedcontainers"},
    "psycopg": {"psycopg_binary", "psycopg_c", "typing_extensions", "tzdata"},
    "rich": {"markdown_it", "mdurl", "pygments"},
}  # fmt: skip


@pytest.mark.seconds
def test_importing_each_module_needs_no_extra_but_its_own() -> None:
    wanted = []
    for name in every_module_name():
        own = EXTRAS.get(name, set())
        wanted.append((name, sorted(own.union(*(BROUGHT_BY.get(package, set()) for package in own)))))
    wanted.sort(key=lambda one: one[1])
    code = f"WANTED = {wanted!r}\n{BLOCKER}"
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "HYPOTHESIS_NO_PLUGINS": "1"},  # other installed packages would be imported by it
        capture_output=True,
        text=True,
        check=False,
    )
    assert (child.returncode, child.stdout, child.stderr) == (0, "", ""), child.stderr


def test_importing_the_package_imports_next_to_nothing() -> None:
    code = "import sys, onerefresh; print([name for name in sys.modules if name.startswith('onerefresh.')])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


@pytest.mark.usefixtures("unmeasured")
def test_a_credential_needs_no_event_loop_and_no_client() -> None:
    code = (
        "import sys, onerefresh\n"
        "acme = onerefresh.Credential('acme', lambda token: token, token={'access_token': 'a'})\n"
        "acme.current()\n"
        "print(sorted({'asyncio', 'ssl', 'httpx', 'httpx2', 'trio', 'sqlite3'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


@pytest.mark.usefixtures("unmeasured")
def test_importing_a_credential_costs_little() -> None:
    """Defining a dataclass takes up to a millisecond: those that a `Credential` needs are public, or are stored."""
    code = (
        "import dataclasses, sys\n"
        "from onerefresh import Credential\n"
        "modules = [module for name, module in sys.modules.items() if name.startswith('onerefresh.')]\n"
        "print(sorted({module.__name__.split('.')[1] for module in modules} & set(sys.argv[1:])))\n"
        "kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}\n"
        "print(sorted(kind.__name__ for kind in kinds if dataclasses.is_dataclass(kind)))"
    )
    others = ["moving", "credentials", "clients", "oauth2", "endpoints", "config", "testing", "cli"]
    child = subprocess.run([sys.executable, "-c", code, *others], capture_output=True, text=True, check=True)
    rooms, kinds = map(ast.literal_eval, child.stdout.splitlines())
    assert rooms == []
    assert kinds == [
        "Entry", "Event", "Facts", "Failure", "Floor", "Lease", "LoggedOut", "Probation", "Profile", "Record",
        "Spooled", "Status", "Targets", "Token", "TokenClock", "Verdict",
    ]  # fmt: skip


def test_files_are_short() -> None:
    long = {str(path.relative_to(SOURCE)): len(path.read_text("utf-8").splitlines()) for path in modules()}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def inner(node: ast.AST) -> Iterator[ast.AST]:
    """What runs where the node does: not the bodies of functions that are defined in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield child
            yield from inner(child)


def must_be_cleaned_up(node: ast.AST) -> bool:
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return not any("suppress" in ast.unparse(item.context_expr) for item in node.items)
    return isinstance(node, ast.Try) and bool(node.finalbody)


OFTEN_INTERRUPTED = [path for path in modules() if room_of(path) not in ("testing", "cli")]


@pytest.mark.parametrize("path", OFTEN_INTERRUPTED, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_loop_with_a_condition_stands_where_a_lock_must_be_let_go(path: Path) -> None:
    """Python 3.12 and 3.13 leave the jump back of such a loop out of the `try` or `with` around it: Ctrl-C that comes
    just there skips the `finally`. `while True` and `for` are not concerned.
    """
    blocks = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if must_be_cleaned_up(node)]
    loops = {
        loop.lineno
        for block in blocks
        for statement in getattr(block, "body", [])
        for loop in (statement, *inner(statement))
        if isinstance(loop, ast.While) and not isinstance(loop.test, ast.Constant)
    }
    assert loops == set(), f"{path.name}: write it as `while True` with a `break`"
