"""Whoever has a new token tries to save it more often than others wait, however short their token requests are."""

from __future__ import annotations

import pytest
from tests.core.driver import NEXT, Process, make_request, needy, refusing, store_goes_down
from tests.effects import EFFECTS, Cas, Sleep

from onerefresh.errors import OnerefreshError
from onerefresh.renewal.renew import renew


@pytest.mark.parametrize("http_timeout", [2.0, 5.0, 10.0, 60.0])
def test_a_committer_rests_for_less_than_others_wait_for_a_late_commit(http_timeout: float) -> None:
    world = needy(None, NEXT)
    request = make_request(http_timeout=http_timeout, **refusing(world))
    process = Process(world, renew(EFFECTS, request), faults={(Cas, 2): store_goes_down})
    with pytest.raises(OnerefreshError):
        process.finish()  # the store never comes back, and the token is in the spool
    rests = [effect.seconds for effect in process.trace if isinstance(effect, Sleep)]
    assert max(rests) < http_timeout
    assert 80.0 < sum(rests) < 120.0
