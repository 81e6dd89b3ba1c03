"""Every test here: state in a folder of its own, and no thread of ours left behind."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.core.calls import PATIENCE, until_no_thread_is_left, until_renewals_are_over

from onerefresh.credential.registry import _registry

# A busy machine is no reason to fail.
settings.register_profile("core", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("core")


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _no_thread_remains() -> Iterator[None]:
    """Without a flight under way there is no thread: each that was started must come to its end.

    The look in the background alone goes on, for as long as something is in memory.
    """
    before = set(threading.enumerate())
    yield
    deadline, pause = time.monotonic() + PATIENCE, 0.005
    while threads := _threads_of_ours(before):
        assert time.monotonic() < deadline, threads
        time.sleep(pause)
        if pause > 0.01:  # most threads have ended by then, and many collections would take more time than the tests
            gc.collect()  # what is in memory may be garbage
        pause = min(2 * pause, 0.1)


@pytest.fixture
def _no_thread_is_left() -> Iterator[None]:
    """No thread of an earlier test may be counted on."""
    until_no_thread_is_left()
    yield
    until_renewals_are_over()


def _threads_of_ours(before: set[threading.Thread]) -> list[threading.Thread]:
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("onerefresh")]
    looking = [thread for thread in ours if thread.name == "onerefresh watch"]
    watched = bool(looking) and any(shared.watched for shared in list(_registry._known.values()))
    return [thread for thread in ours if thread not in before and not (watched and thread in looking)]
