"""Several processes, one credential on one SQLite file: one token request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.processes.conftest import Fleet

pytestmark = pytest.mark.slow


def test_four_processes_with_25_calls_each_send_one_token_request(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.save()
    processes = fleet.start_many(4)
    fleet.server.revoke_access()
    for process in processes:
        process.do("calls", count=25)
    assert [process.until("statuses") for process in processes] == [[200] * 25] * 4
    assert fleet.server.counters.token_requests == 1
    assert fleet.server.counters.reuse_detected == 0
    for process in processes:
        process.finish()


def test_refusals_that_come_after_the_refresh_cause_no_second_one(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.save()
    processes = fleet.start_many(2)
    fleet.server.revoke_access()
    fleet.server.late_refusals(every=2)
    for process in processes:
        process.do("calls", count=20)
    assert [process.until("statuses") for process in processes] == [[200] * 20] * 2
    assert fleet.server.counters.token_requests == 1


def test_a_process_that_sleeps_through_a_refresh_adopts_its_token(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet(old_access_dies=True)
    fleet.save()
    early, late = fleet.start_many(2)
    assert [process.do("token").until("token") for process in (early, late)] == [1, 1]
    fleet.server.revoke_access()
    early.do("calls", count=5)
    assert early.until("statuses") == [200] * 5
    late.do("calls", count=5)
    assert late.until("statuses") == [200] * 5
    assert fleet.server.counters.token_requests == 1
    assert late.events("sent") == []


@pytest.mark.long
def test_eight_processes_at_once_wait_for_one_refresh(
    new_fleet: Callable[..., Fleet], capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = new_fleet()
    fleet.save()
    processes = fleet.start_many(8)
    assert [process.do("token").until("token") for process in processes] == [1] * 8
    fleet.server.delay("token", 0.05)
    started = time.monotonic()
    took: list[float] = []

    def go(process: object) -> None:
        process.do("refused").until("token", matches=lambda generation: generation == 2)  # type: ignore[attr-defined]
        took.append(time.monotonic() - started)

    threads = [threading.Thread(target=go, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 8
    assert fleet.server.counters.token_requests == 1
    with capsys.disabled():
        print(f"\n  8 processes, an endpoint of 50 ms: first {min(took) * 1e3:.0f} ms, last {max(took) * 1e3:.0f} ms")


def test_a_dead_session_is_asked_about_once_by_all_processes_together(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    fleet.server.revoke_family()
    first, second, third = fleet.start_many(3)
    assert first.do("token").until("error")[0] == "LoginRequired"
    for process in (second, third):
        assert process.do("token").until("error") == first.told("error")[0]
    assert fleet.server.counters.token_requests == 1


def test_a_logout_elsewhere_is_final_for_a_refresh_under_way(new_fleet: Callable[..., Fleet]) -> None:
    fleet = new_fleet()
    fleet.save_expired()
    holder = fleet.start(gates=["answered"])
    holder.do("token").until_gate("answered")
    assert fleet.start().do("logout").until_answered() is None
    holder.open("answered")
    assert holder.until("error") == ["LoginRequired", "logged out: log in again"]
    assert holder.events("orphaned")
    assert fleet.start().do("status").until("status") == {"state": "empty", "generation": 2}
