"""Importing the library, and starting the command, against Python alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.report import Row, milliseconds, ratio
from bench.timing import Pair, against, jitter

IMPORT = "import onerefresh; onerefresh.Credential"
LIST = f"import sys; before = set(sys.modules); {IMPORT}; print(*(set(sys.modules) - before))"
"""Prints what the import brings in."""
ANSWER = '{"access_token": "access", "refresh_token": "refresh", "expires_in": 3600}'
CONFIGURATION = """
[credentials.acme]
token_endpoint = "https://login.acme.com/token"
client_id = "bench"
store = "sqlite:///{folder}/tokens.db?trusted_folders={folder}"
"""


def measure(turns: int) -> list[Row]:
    alone, standard = _python("pass"), _python(_standard_modules())
    ours = against(_python(IMPORT), standard, turns=turns)
    beyond = [ours - bare for ours, bare in zip(ours.ours, ours.bare, strict=True)]
    command = _command(turns, alone)
    return [
        Row(
            "importing `Credential`, beyond the standard modules that it needs", milliseconds(jitter(beyond)), "≤ 25 ms"
        ),
        Row("these standard modules, and Python itself", milliseconds(jitter(ours.bare)), ""),
        Row("`onerefresh token`, with a fresh token in SQLite", milliseconds(jitter(command.ours)), "≤ 105 ms"),
        Row("against Python that does nothing", ratio(command.ratio), ""),
    ]


def _standard_modules() -> str:
    """A program that imports what ours needs from the standard library, and nothing else."""
    printed = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True).stdout
    names = [name for name in printed.split() if name.partition(".")[0] in sys.stdlib_module_names]
    return "\n".join(f"import {name}" for name in sorted(names) if not name.startswith("_"))


def _command(turns: int, alone: Callable[[], object]) -> Pair:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "onerefresh.toml"
        place.write_text(CONFIGURATION.format(folder=folder), "utf-8")
        place.chmod(0o600)
        command = [sys.executable, "-m", "onerefresh", "--config", str(place)]
        subprocess.run(
            [*command, "login", "acme", "--with-token"], input=ANSWER, text=True, check=True, capture_output=True
        )
        return against(lambda: _ran([*command, "token", "acme"]), alone, turns=turns)


def _python(program: str) -> Callable[[], object]:
    return lambda: _ran([sys.executable, "-c", program])


def _ran(command: list[str]) -> None:
    """Run it with compiled modules, as users have them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
