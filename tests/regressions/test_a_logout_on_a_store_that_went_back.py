"""A store went back, somebody logged out, and whoever knew a newer generation brought the session back."""

from __future__ import annotations

from onerefresh.testing.simulator import Fault, Happening, Kind, Point, Scenario, What, simulate


def test_a_logout_is_final() -> None:
    logged_out = 0
    for seed in range(150):
        report = simulate(
            Scenario.of(
                seed,
                kind=Kind.REJECT_ONLY,
                faults=(Fault(What.ROLLBACK, Point.COMMIT, 2, seconds=60.0),),
                happenings=(Happening(What.REVOKED, 5.0), Happening(What.REVOKED, 15.0), Happening(What.LOGOUT, 25.0)),
                may_go_back=False,
                obtains=False,
                host_saves=False,
            ),
            account=True,
        )
        assert report.broken is None, str(report)
        logged_out += report.end == "logged out" and bool(report.struck)
    assert logged_out > 50
