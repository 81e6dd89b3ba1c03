"""Three hosts, of which the holder's is cut off from all others: the short form of ``make chaos``."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.hosts import PARTINGS, part, spread_out
from tests.chaos.kinds import SERVERS, Kind
from tests.chaos.network import why_not

pytestmark = [pytest.mark.slow, pytest.mark.long]


def kind_named(name: str) -> Kind:
    """Skips where it cannot be had, or hosts cannot."""
    [kind] = [kind for kind in SERVERS if kind.name == name]
    reason = why_not() or kind.why_not
    if reason is not None:
        pytest.skip(f"no hosts with {name}: {reason}")
    return kind


def test_the_others_go_on_without_a_host_that_is_cut_off(tmp_path: Path) -> None:
    """Before it sends, and with the answer in hand; ``make chaos`` also while the answer is on its way."""
    with spread_out(kind_named("valkey"), tmp_path, has_grace=True) as (crew, network):
        for parting in (PARTINGS[0], PARTINGS[-1]):
            part(crew, network, parting)


def test_a_strict_server_ends_the_session_of_a_host_that_is_cut_off_with_the_answer(tmp_path: Path) -> None:
    """And the late answer never takes the place of the login that follows."""
    with spread_out(kind_named("postgresql"), tmp_path, has_grace=False) as (crew, network):
        part(crew, network, PARTINGS[-1])
