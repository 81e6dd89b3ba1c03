"""Programs that seed the module `random` draw the same with this library as without it."""

from __future__ import annotations

import random
from pathlib import Path

from tests.core.calls import Refresher, first_token

from onerefresh import Credential, Credentials


def test_what_a_seeded_program_draws_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    random.seed(1)
    state = random.getstate()
    with Credential("acme", Refresher(), token=first_token(), store=f"sqlite:///{tmp_path}/tokens.db") as acme:
        acme.token(refused=acme.token())
    with Credentials(Refresher(), store=f"sqlite:///{tmp_path}/tokens.db", keep=2) as tenants:
        tenants["one"].login(first_token(expires_at=1_000_000_000))
        tenants.refresh_due(within=3600.0, keys=["acme", "one"])
    assert random.getstate() == state
