"""A lease whose release was not applied held everybody up for its time to live: for minutes at a strict server."""

from __future__ import annotations

import pytest
from tests.simulator import Fault, Happening, Kind, Point, Scenario, What, simulate


@pytest.mark.parametrize("what", [What.UNKNOWN_APPLIED, What.UNKNOWN_LOST, What.UNKNOWN_LATER])
@pytest.mark.parametrize("failure", [What.UNAVAILABLE, What.ERROR_BEFORE])
def test_nobody_waits_for_a_lease_whose_release_was_not_confirmed(what: What, failure: What) -> None:
    struck = 0
    for seed in range(25):
        report = simulate(
            Scenario.of(
                seed,
                kind=Kind.REJECT_ONLY,
                faults=(
                    *(Fault(failure, Point.SEND, nth) for nth in range(1, 5)),
                    Fault(what, Point.RELEASE, 2),  # the first one begins the record
                ),
                happenings=(Happening(What.REVOKED, 5.0),),
                has_flock=False,
                obtains=False,
            ),
            account=True,
        )
        assert report.broken is None, str(report)
        assert "taken over" not in str(report.account), str(report)
        struck += sum(line.startswith(what) for line in report.struck)
    assert struck > 10
