"""The scenes of ``bench.isolation``, by what they count: how long they take depends on the machine."""

from __future__ import annotations

import pytest
from bench import isolation
from bench.worker import STATES

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_thousands_of_cold_tenants_need_few_threads() -> None:
    # 32, those that a busy machine holds up, and a few of the test's own: one for each tenant before.
    assert isolation._figures(1, "cold", 1_000)["threads"] < 100


def test_all_healthy_tenants_are_answered_beside_those_that_hang() -> None:
    assert isolation._figures(1, "crowd", isolation.HANGING)["answered"] == isolation.HEALTHY


def test_a_provider_that_asks_for_a_pause_gets_it_for_all_its_tenants() -> None:
    assert isolation._figures(1, "refused", 0)["requests"] <= 3


def test_the_due_ones_are_refreshed_beside_those_of_a_host_that_hangs() -> None:
    assert isolation._figures(1, "due", isolation.HEALTHY)["median"] < isolation.HANGS


@pytest.mark.parametrize("state", STATES)
def test_a_worker_answers_its_customers_beside_bad_providers_and_a_store_that_hangs(state: str) -> None:
    found = isolation._figures(1, state, of="worker")
    assert found["answered"] > 0.9  # all of them, but on a busy machine
    assert 0.0 < found["gap"] <= found["worst"]


def test_records_that_another_program_has_locked_hold_up_no_others() -> None:
    found = isolation._figures(1, "locked", isolation.LOCKED)
    assert found["answered"] == isolation.FREE
    assert found["others"] == 0, "they were never locked"
