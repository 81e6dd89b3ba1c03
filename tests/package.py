"""Where the package under test lies: in `src`, or where `make wheel` has installed it."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import onerefresh

ROOT = Path(__file__).parents[1]
PACKAGE = Path(onerefresh.__file__).parent


@functools.cache
def alone() -> str:
    """A folder from which a process imports the package, and nothing that is installed beside it."""
    folder = Path(tempfile.mkdtemp(prefix="onerefresh-alone-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / PACKAGE.name).symlink_to(PACKAGE)
    return str(folder)
