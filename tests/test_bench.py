"""The measurements measure: their arithmetic, and one run of what is compared."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bench import storm, tenants
from bench.comparison.contenders import CONTENDERS, Contender
from bench.comparison.run import CANCELLED, PROCESSES_4, REFUSED, Result, Scenario, Subscription, run
from bench.report import insert, table
from bench.timing import Pair, against

from onerefresh.testing import RemoteServer

ROOT = Path(__file__).parents[1]
OURS = [contender for contender in CONTENDERS if contender.package == "onerefresh"]
PAIRS = [(one, scenario) for one in OURS for scenario in (REFUSED, PROCESSES_4, CANCELLED) if scenario.fits(one)]


def test_both_sides_are_timed_equally_often_and_warmed_up_once() -> None:
    calls: Counter[str] = Counter()
    pair = against(lambda: calls.update(["ours"]), lambda: calls.update(["bare"]), turns=7)
    assert (len(pair.ours), len(pair.bare)) == (7, 7)
    assert calls == {"ours": 8, "bare": 8}


def test_a_ratio_compares_each_turn_with_its_neighbour() -> None:
    ratio = Pair(ours=(20, 30, 40), bare=(10, 10, 10)).ratio
    assert (ratio.lower, ratio.median, ratio.upper) == (2.5, 3.0, 3.5)


def test_the_storm_is_measured_against_the_endpoint_of_the_same_run() -> None:
    _, half, most = storm.rows([50_000_000] * 3, [60_000_000] * 98 + [100_000_000] * 2)
    assert half.figure == "60.0 ms, 1.20 of the endpoint"
    assert most.figure == "100.0 ms, 2.00 of the endpoint"


def test_results_that_differ_between_runs_are_given_as_a_range() -> None:
    results = [Result(1, 0, 100, "alive", Counter()), Result(3, 0, 97, "revoked", Counter())]
    line = Subscription(OURS[0], {REFUSED.name: results})
    assert line.cell(REFUSED, lambda result: result.token_requests) == "1 to 3"
    assert line.cell(REFUSED, lambda result: result.reuses) == "0"
    assert line.cell(REFUSED, lambda result: result.session) == "alive or revoked"


def test_a_table_takes_its_place_between_the_marks_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- one -->\nold\n<!-- end -->\n<!-- two -->\n<!-- end -->\n")
    insert(page, "one", table(["", "figure"], [["what", "1"]]))
    assert page.read_text() == (
        "before\n<!-- one -->\n| | figure |\n| --- | --- |\n| what | 1 |\n<!-- end -->\n<!-- two -->\n<!-- end -->\n"
    )


def test_a_page_without_the_marks_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match="needs the marks"):
        insert(page, "one", "table")
    assert page.read_text() == "nothing here\n"


@pytest.mark.seconds
@pytest.mark.usefixtures("unmeasured")
def test_a_credential_among_many_takes_no_more_than_a_kibibyte_beyond_its_token() -> None:
    # In a process of its own: what other tests have left in the library's tables decides when those grow.
    code = "from bench import tenants; found = tenants.bytes_each(1_000); print(found.credential, found.token)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    credential, token = map(float, told.split())
    assert 0 < credential <= 1024
    assert token > 2 * tenants.TEXT


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("contender", "scenario"), PAIRS, ids=lambda part: getattr(part, "key", None) or part.name)
def test_onerefresh_sends_one_token_request_in_the_comparison(contender: Contender, scenario: Scenario) -> None:
    with RemoteServer.start(mode="revoke_family") as server:
        found = run(server, contender, scenario)
    assert found.token_requests == 1
    assert found.reuses == 0
    assert found.answered == (99 if scenario.cancel else 100)
    assert found.session == "alive"
