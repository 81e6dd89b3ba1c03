from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.strangers.people import ADA, People


@pytest.fixture(scope="session")
def people() -> Iterator[People]:
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("NOT TESTED: other users of the machine; only root can become them")
    with People() as people:
        yield people


@pytest.fixture
def land(people: People) -> Iterator[Path]:
    """A folder that all can enter, with a temporary folder for all and one of Ada's."""
    land = Path(tempfile.mkdtemp(prefix="onerefresh-land-")).resolve()
    land.chmod(0o755)
    (land / "tmp").mkdir()
    (land / "tmp").chmod(0o1777)
    folder_of(land / "ada", ADA)
    yield land
    shutil.rmtree(land)


def folder_of(folder: Path, uid: int, mode: int = 0o700, gid: int | None = None) -> Path:
    """Make a folder that belongs to somebody."""
    folder.mkdir()
    os.chown(folder, uid, uid if gid is None else gid)
    folder.chmod(mode)
    return folder


def file_of(file: Path, uid: int, mode: int, content: str = "", gid: int | None = None) -> Path:
    """Make a file that belongs to somebody."""
    file.write_text(content)
    os.chown(file, uid, uid if gid is None else gid)
    file.chmod(mode)
    return file


Maker = Callable[[Path], None]
