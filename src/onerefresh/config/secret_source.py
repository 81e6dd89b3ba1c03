"""Where a secret comes from that is not in the configuration file: the environment, a file, a command."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from onerefresh.config.values import expanded, text
from onerefresh.errors import ConfigurationError
from onerefresh.private_files import file_of_ours
from onerefresh.safe_folders import ROOT, UnsafePath, follow, trust
from onerefresh.secret import Secret

__all__ = ["WRITE_A_SOURCE", "SecretSource", "secret_source"]

COMMAND_SECONDS = 30.0
"""Seconds that a command may take to print a secret."""
WRITE_A_SOURCE = 'write { env = "NAME" }, { file = "PATH" } or { command = ["PROGRAM", "…"] }'
_SEVERAL_LINES = ("encrypt", "moved_from_encrypt", "old_keys")
"""Settings whose secret may be several keys, one a line."""
_CALLED = {
    "client_secret": "the client secret",
    **dict.fromkeys(("store", "moved_from"), "the URL of the store"),
    **dict.fromkeys(_SEVERAL_LINES, "the encryption key"),
}


@dataclass(frozen=True, slots=True)
class SecretSource:
    """A source of a secret; calling it fetches the secret. `kind`: ``env``, ``file`` or ``command``.

    `key`: the setting's name in the file, for errors.
    """

    key: str
    kind: str
    place: str | tuple[str, ...]
    folder: Path

    def __str__(self) -> str:
        return f"from {self.kind} {self.place if isinstance(self.place, str) else self.place[0]}"

    def __call__(self) -> Secret:
        """Fetch the secret. Raises `ConfigurationError` where there is none."""
        if isinstance(self.place, tuple):
            secret, what = _printed_by(self.place, self.key, self.folder), f"the command {self.place[0]!r} printed"
        elif self.kind == "env":
            secret, what = _from_environment(self.place, self.key), f"the environment variable {self.place} has"
        else:
            path = self.folder / expanded(self.place)
            secret, what = _from_file(path, self.key), f"{path} has"
        if self.key not in _SEVERAL_LINES and len(secret.reveal().splitlines()) > 1:
            raise ConfigurationError(
                f"{self.key}: {what} more than one line: it must be {_called(self.key)} and nothing else"
            )
        return secret


def secret_source(value: object, where: str, folder: Path) -> SecretSource:
    """The source that a `value` of the file describes. Raises `ConfigurationError` for anything else."""
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: a secret does not belong in this file; {WRITE_A_SOURCE}")
    if len(value) != 1 or next(iter(value)) not in ("env", "file", "command"):
        names = ", ".join(value) or "nothing"
        raise ConfigurationError(f"{where} must be exactly one of env, file and command, not {names}; {WRITE_A_SOURCE}")
    key = where.rpartition(".")[2]
    ((kind, place),) = value.items()
    if kind != "command":
        return SecretSource(key, kind, text(place, f"{where}.{kind}"), folder)
    if not isinstance(place, list) or not place or not all(isinstance(word, str) and word for word in place):
        raise ConfigurationError(
            f'{where}.command must be a list of strings, which is run without a shell: ["pass", "show", "acme"]'
        )
    return SecretSource(key, kind, tuple(place), folder)


def _called(key: str) -> str:
    return _CALLED.get(key, f"the secret {key}")


def _without_ends(text: str) -> Secret:
    """The secret without what editors and shells put around it: line breaks, and the byte order mark of Windows."""
    return Secret(text.removeprefix("\ufeff").strip("\r\n"))


def _from_environment(name: str, key: str) -> Secret:
    secret = _without_ends(os.environ.get(name, ""))
    if secret:
        return secret
    raise ConfigurationError(f"{key}: the environment variable {name} is not set: set it to {_called(key)}")


def _from_file(path: Path, key: str) -> Secret:
    try:
        found = file_of_ours(path, trust(), f"replace {_called(key)}")
        secret = _without_ends(found.read_text("utf-8"))
    except ConfigurationError as error:
        raise ConfigurationError(f"{key}: {error.message}") from None
    except OSError as error:
        raise ConfigurationError(f"{key}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        secret = Secret("")
    if secret:
        return secret
    raise ConfigurationError(f"{key}: {path} is empty or not text: write {_called(key)} into it")


def _printed_by(command: tuple[str, ...], key: str, folder: Path) -> Secret:
    """What the command prints. It has no standard input, and its standard error is the user's."""
    path = os.pathsep.join(filter(_is_absolute, os.environ.get("PATH", "").split(os.pathsep))) or os.defpath
    program = _program(command[0], folder, path)
    if program is None:
        problem = "cannot be run: No such file or directory (the working folder is not searched)"
        raise ConfigurationError(f"{key}: the command {command[0]!r} {problem}")
    secret, problem = _output((str(program), *command[1:]), key, folder, path)
    if secret:
        return secret
    raise ConfigurationError(f"{key}: the command {command[0]!r} {problem}")


def _program(name: str, folder: Path, path: str) -> Path | None:
    """The program to run: a file relative to the configuration where `name` has a slash, else one found in `path`.

    Raises `ConfigurationError` where other users could have put that file there, or could change it. Whom `PATH` trusts
    is the user's decision, who runs everything else by it.
    """
    if Path(name).name != name:
        program = folder / expanded(name)
        with contextlib.suppress(OSError):  # a missing file is reported when it is run
            file_of_ours(program, trust(), "make it run commands as you")
        return program
    import shutil

    endings = ["", *os.environ.get("PATHEXT", "").split(os.pathsep)] if os.name == "nt" else [""]
    places = (Path(place) / f"{name}{ending}" for place in path.split(os.pathsep) for ending in endings)
    return next((place for place in places if shutil.which(str(place))), None)


def _is_absolute(path: str) -> bool:
    return Path(path).is_absolute()


def _safe_working_folder(folder: Path) -> Path:
    """The command's working folder: programs look there for modules and settings of their own."""
    try:
        return folder if follow(f"{folder}/.", trust()).found else ROOT
    except (UnsafePath, OSError):
        return ROOT


def _output(command: tuple[str, ...], key: str, folder: Path, path: str) -> tuple[Secret, str]:
    """What the command printed, or why that is nothing.

    Raises nothing, since a traceback with locals would show the secret.
    """
    import subprocess

    try:
        done = subprocess.run(  # noqa: S603 - the user's own file names the command
            command,
            cwd=_safe_working_folder(folder),
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            return Secret(""), f"ended with {done.returncode}: run it by hand to see why"
        return _without_ends(done.stdout.decode("utf-8")), f"printed nothing: it must print {_called(key)}"
    except OSError as error:
        return Secret(""), f"cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return Secret(""), f"did not end within {COMMAND_SECONDS:.0f} s"
    except UnicodeDecodeError:
        return Secret(""), "printed something that is not text"
