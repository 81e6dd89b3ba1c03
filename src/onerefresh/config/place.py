"""Where the configuration file is, and what it holds: it can run commands, so nobody else may have written it."""

from __future__ import annotations

import os
from pathlib import Path

from onerefresh.config.values import expanded
from onerefresh.errors import ConfigurationError
from onerefresh.private_files import absolute, file_of_ours
from onerefresh.safe_folders import trust

__all__ = ["config_file", "content_of"]

LARGEST_FILE = 1024 * 1024


def config_file(config: str | os.PathLike[str] | None = None) -> Path:
    """The configuration file's path: `config`, else ``$ONEREFRESH_CONFIG``, else in the user's configuration folder.

    Raises `ConfigurationError` where the variable holds a relative path, since the working folder may belong to
    anybody.
    """
    if config is not None:
        return absolute(config)
    named = os.environ.get("ONEREFRESH_CONFIG")
    if not named:
        return _config_folder() / "onerefresh" / "onerefresh.toml"
    path = expanded(named)
    if not path.is_absolute():
        raise ConfigurationError(f"ONEREFRESH_CONFIG must be an absolute path, not {named!r}")
    return path


def _config_folder() -> Path:
    import sys

    if sys.platform == "darwin":
        return expanded("~/Library/Application Support")
    if os.name == "nt":
        return expanded(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    given = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(given) if given.startswith("/") else expanded("~/.config")


def content_of(path: Path) -> str:
    """The file's text. Raises `ConfigurationError`, `OSError` and `UnicodeDecodeError`."""
    with file_of_ours(path, trust(), "make it run commands as you", own_group=False).open("rb") as file:
        if os.fstat(file.fileno()).st_size > LARGEST_FILE:
            raise ConfigurationError(f"{path} is larger than 1 MiB, so it cannot be a configuration file")
        return file.read().decode("utf-8-sig")
