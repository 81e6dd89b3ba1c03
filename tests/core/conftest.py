"""Every test here: state in a folder of its own, and no thread of ours left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail.
settings.register_profile("core", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("core")


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _no_thread_remains() -> Iterator[None]:
    """Without a flight under way there is no thread: each that was started must come to its end."""
    before = set(threading.enumerate())
    yield
    mine = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("onerefresh")]
    for thread in mine:
        thread.join(10.0)
    assert [thread for thread in mine if thread.is_alive()] == []
