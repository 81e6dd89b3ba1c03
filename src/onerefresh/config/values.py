"""Values of the configuration file, checked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from onerefresh.errors import ConfigurationError
from onerefresh.private_files import at_home

__all__ = ["alike", "expanded", "kind", "table", "text"]


def text(value: object, where: str) -> str:
    """`value` as a text. Raises `ConfigurationError` for anything else, and for an empty text."""
    if isinstance(value, str) and value:
        return value
    message = "an empty string" if value == "" else kind(value)
    raise ConfigurationError(
        f'{where} must be a string in quotes, not {message}: write {where.rpartition(".")[2]} = "…"'
    )


def table(value: object, where: str) -> dict[str, object]:
    """`value` as a table. Raises `ConfigurationError` for anything else."""
    if isinstance(value, dict):
        return value
    raise ConfigurationError(f"{where} must be a table, not {kind(value)}: write [{where}]")


def kind(value: object) -> str:
    """The kind of a value, in words."""
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")


def alike(name: str, known: Iterable[str]) -> str:
    """A question whether the one of the `known` names was meant that is most like `name`; empty where none is."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 1)
    return f", did you mean {found[0]!r}?" if found else ""


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` expanded. Raises `ConfigurationError` where there is no such home folder."""
    try:
        return at_home(path)
    except RuntimeError:
        raise ConfigurationError(f"{os.fspath(path)}: there is no such home folder; write the full path") from None
