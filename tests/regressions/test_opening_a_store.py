"""Threads that open the same store at the same moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onerefresh import Store
from onerefresh.stores import open_store


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.seconds
@pytest.mark.usefixtures("_hasty_threads")
def test_threads_that_open_the_same_file_at_once_get_one_store(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def opened(url: str) -> Store:
        together.wait(10.0)
        return open_store(url)

    with ThreadPoolExecutor(4) as pool:
        for number in range(300):
            url = f"sqlite:///{tmp_path / str(number)}.db"
            stores = list(pool.map(opened, [url] * 4))
            assert len(set(map(id, stores))) == 1, url
