"""How many refresh tokens are spent twice when a store forgets many sessions under load.

    python -m tests.doublespend --sessions 300 --place "valkey flushed"

Two processes use all sessions; each has refreshed one half of them, and knows the other half as it was before. The
store loses everything, and both ask for what they know least of, at the same moment.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.doublespend import places
from tests.doublespend.conftest import Crew
from tests.processes import conftest as patience
from tests.servers.postgres import PostgresServer

from onerefresh.testing import AuthServer

MOST = 300
PLACES = ("valkey flushed", "valkey durable", "valkey restarted", "postgres deleted", "sqlite deleted")
AT_ONCE = 8


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.doublespend", description=__doc__)
    parser.add_argument("--sessions", type=int, default=MOST, help=f"at most {MOST}")
    parser.add_argument("--place", choices=PLACES, default=PLACES[0])
    chosen = parser.parse_args(arguments)
    if not 2 <= chosen.sessions <= MOST:
        parser.error(f"--sessions is 2 to {MOST}")
    patience.PATIENCE = 300.0  # it measures, and waits for no fault
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        os.environ["ONEREFRESH_STATE"] = str(folder / "state")
        server = resources.enter_context(AuthServer())
        server.expect_reuse()

        def postgres() -> tuple[PostgresServer, str]:
            started = resources.enter_context(PostgresServer.start())
            return started, started.url

        place = places.made(chosen.place, folder, resources, postgres)
        measure(Crew(server, place, resources), chosen.place, [f"session-{n}" for n in range(chosen.sessions)])


def measure(crew: Crew, kind: str, keys: list[str]) -> None:
    halves = keys[::2], keys[1::2]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(crew.log_in, keys))
        members = crew.start(), crew.start()
        list(pool.map(lambda member: member.ask_many("token", keys), members))
        list(pool.map(lambda member, half: member.ask_many("refused", half), members, halves))
        before = crew.server.counters
        assert (before.reuse_detected, before.token_requests) == (0, len(keys)), before
        crew.place.forget()
        began = time.monotonic()
        told = list(pool.map(lambda member, half: member.ask_many("refused", half), members, reversed(halves)))
        seconds = time.monotonic() - began
    after = crew.server.counters
    answers: Counter[str] = sum(told, Counter())
    print(
        f"{kind}: {len(keys)} sessions in 2 processes: {after.reuse_detected} refresh tokens spent twice, "
        f"{crew.server.sessions.count('revoked')} sessions revoked, "
        f"{after.token_requests - before.token_requests} token requests after the loss; "
        f"answers {dict(sorted(answers.items()))} in {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
