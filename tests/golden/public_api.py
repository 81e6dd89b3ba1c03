"""All that users may rely on, as one text: ``python -m tests.golden.public_api --write`` renews the stored one.

A change of this text is a change for users: the changelog says so.
"""

from __future__ import annotations

import argparse
import ast
import enum
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.package import PACKAGE, ROOT

from onerefresh.cli import COMMANDS, build_parser, failure
from onerefresh.config import file as config_file

GOLDEN = Path(__file__).with_name("public_api.txt")

MODULES = (
    "onerefresh",
    "onerefresh.clients.aiohttp",
    "onerefresh.clients.azure",
    "onerefresh.clients.google_auth",
    "onerefresh.clients.grpc",
    "onerefresh.clients.httpx",
    "onerefresh.clients.refused",
    "onerefresh.clients.requests",
    "onerefresh.clients.websockets",
    "onerefresh.config",
    "onerefresh.credentials",
    "onerefresh.events",
    "onerefresh.moving",
    "onerefresh.oauth2",
    "onerefresh.endpoints",
    "onerefresh.policy",
    "onerefresh.profile",
    "onerefresh.store",
    "onerefresh.stores.encrypted",
    "onerefresh.stores.keys",
    "onerefresh.stores.postgres",
    "onerefresh.stores.redis",
    "onerefresh.stores.sqlite",
    "onerefresh.testing",
    "onerefresh.testing.stores.contract",
    "onerefresh.testing.stores.failing_contract",
    "onerefresh.testing.stores.machine",
)
SPECIAL = ("__call__", "__enter__", "__aenter__", "__exit__", "__aexit__", "__getitem__", "__str__", "__fspath__")
"""Special methods that users call by their syntax."""


def public_api() -> str:
    """The whole text; the same on every Python."""
    lines = ["# What users may rely on. Renewed with: python -m tests.golden.public_api --write", ""]
    for module in MODULES:
        lines += [f"## {module}", "", *_of_module(module), ""]
    lines += ["## pytest fixtures", "", *_fixtures(), ""]
    lines += ["## command", "", *_commands(), ""]
    lines += ["## exit codes", "", *_exit_codes(), ""]
    lines += ["## keys of a credential in the configuration file", "", *sorted(config_file._KEYS), ""]
    lines += ["## environment variables", "", *_variables(), ""]
    lines += ["## extras", "", *_extras()]
    return "\n".join(lines) + "\n"


def _of_module(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    for public in sorted(module.__all__):
        yield from _of_value(public, getattr(module, public))


def _of_value(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, type):
        yield from _of_class(name, value)
    elif callable(value):
        yield f"def {name}{_signature(value)}"
    elif isinstance(value, (str, int, float, bool, tuple)):
        yield f"{name} = {value!r}"
    else:
        yield f"{name}: {type(value).__name__}"


def _of_class(name: str, value: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    if issubclass(value, enum.Enum):
        yield f"class {name}({bases})"
        yield from (f"    {member.name} = {member.value!r}" for member in value)
        return
    constructor = _signature(value) if _is_ours(value, "__init__") else "(...)"
    yield f"class {name}({bases}){constructor if constructor != '(...)' else ''}"
    for member, found in sorted(_members(value).items()):
        yield f"    {_of_member(member, found)}"


def _is_ours(value: type, method: str) -> bool:
    """Whether the method is defined in this package, or made for a data class of it."""
    home = next((base for base in value.__mro__ if method in vars(base)), object)
    return home.__module__.startswith("onerefresh")


def _members(value: type) -> dict[str, Any]:
    """Public members by name, inherited ones of this package as well."""
    found: dict[str, Any] = {}
    for base in reversed(value.__mro__):
        if base.__module__.startswith("onerefresh"):
            found.update({name: vars(base)[name] for name in vars(base) if name in SPECIAL or _is_public(name)})
            found.update({name: None for name in inspect.get_annotations(base) if _is_public(name)} | found)
    return found


def _is_public(name: str) -> bool:
    """The tests of a contract are run, and not called."""
    return not name.startswith(("_", "test_"))


def _of_member(name: str, found: Any) -> str:
    if isinstance(found, property):
        return f"{name} (property)"
    if isinstance(found, (classmethod, staticmethod)):
        return f"{type(found).__name__} {name}{_signature(found.__func__)}"
    if inspect.isfunction(found):
        return f"{'async def' if inspect.iscoroutinefunction(found) else 'def'} {name}{_signature(found)}"
    return f"{name} (attribute)"


def _signature(value: Callable[..., object]) -> str:
    signature = inspect.signature(value)
    parameters = [each.replace(annotation=_bare(each.annotation)) for each in signature.parameters.values()]
    signature = signature.replace(parameters=parameters, return_annotation=_bare(signature.return_annotation))
    return re.sub(r"<(?:object|function|built-in function)[^>]*>|<factory>", "...", str(signature))


class _Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _bare(annotation: Any) -> Any:
    return _Bare(annotation.replace('"', "'")) if isinstance(annotation, str) else annotation


def _fixtures() -> Iterator[str]:
    tree = ast.parse((PACKAGE / "testing" / "plugin.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.decorator_list:
            yield f"{node.name} -> {ast.unparse(node.returns) if node.returns else ''}"


def _commands() -> Iterator[str]:
    parser = build_parser()
    yield from _options("onerefresh", parser)
    [subparsers] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(COMMANDS) <= set(subparsers.choices)
    for name, command in subparsers.choices.items():
        yield from _options(f"onerefresh {name}", command)


def _options(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield name
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            if name != "onerefresh":
                for below, command in action.choices.items():
                    yield from _options(f"{name} {below}", command)
            continue
        words = ", ".join(action.option_strings) or action.dest.upper()
        takes = "" if action.nargs == 0 else f" nargs={action.nargs}" if action.nargs else ""
        choices = f" choices={','.join(map(str, action.choices))}" if action.choices else ""
        yield f"    {words}{takes}{choices}{' required' if action.required and action.option_strings else ''}"


def _exit_codes() -> Iterator[str]:
    for name, value in sorted(vars(failure).items()):
        if name.isupper() and isinstance(value, int):
            yield f"{name} = {value}"


def _variables() -> list[str]:
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        found |= set(re.findall(r"\bONEREFRESH_[A-Z_]+\b", path.read_text("utf-8")))
    return sorted(found)


def _extras() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return sorted(project["optional-dependencies"])


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        GOLDEN.write_text(public_api(), "utf-8")
    else:
        sys.stdout.write(public_api())


if __name__ == "__main__":
    main()
