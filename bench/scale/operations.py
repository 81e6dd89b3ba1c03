"""What servers are asked for one refresh, by who waits for it, and in an hour of calls with a fresh token.

Run as a program it is a process that shares the credential.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

from bench.scale.counting import LOGGING, Count, count_of, said
from bench.scale.places import Place, postgres, redis
from bench.storm import Member
from onerefresh import Credential, events, policy
from onerefresh.credential import watch
from onerefresh.oauth2 import TokenEndpoint
from onerefresh.testing import RemoteServer

CALLS_PER_SECOND = 10
HOUR = 3600 * CALLS_PER_SECOND
LOOKED_AGAIN = 17.0
"""Seconds until the last look at a saved token: half a lease of 30 s, and some more."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server was asked, in words. `looks`: after the refresh, by and by."""

    first: str
    refresh: str
    looks: str
    waiting: str
    hour: str


def measure(*, quick: bool) -> list[list[str]]:
    """The lines of the table."""
    with redis() as place:
        of_redis = asked(place, quick=quick)
    with postgres(**LOGGING) as place:
        of_postgres = asked(place, quick=quick)
    return [
        ["a process's first refresh", of_redis.first, of_postgres.first],
        ["a further refresh", of_redis.refresh, of_postgres.refresh],
        ["looking again after 1 s, 10 s and half a lease", of_redis.looks, of_postgres.looks],
        ["a process that waits for another's refresh", of_redis.waiting, of_postgres.waiting],
        [f"an hour of {CALLS_PER_SECOND} calls a second, fresh token", of_redis.hour, of_postgres.hour],
    ]


def asked(place: Place, *, quick: bool) -> Asked:
    with ExitStack() as stack:
        server = stack.enter_context(RemoteServer.start(mode="static"))  # whose lease is 30 s, and no longer
        client = {"client_id": server.client_id, "client_secret": server.client_secret}
        job = {"url": server.token_url, "client": client, "store": place.url}
        with Credential(
            "asked",
            TokenEndpoint(server.token_url, client_id=server.client_id, client_secret=server.client_secret),
            store=place.url,
        ) as person:
            person.login(server.issue())  # a first token with token= might be an old one, and is not sent for 5 s
        refresher, waiter = (stack.enter_context(Member(job, "bench.scale.operations")) for _ in range(2))
        for member in (refresher, waiter):
            assert member.heard() == "ready"
        count = count_of(place)
        first = _refresh(refresher, count)
        time.sleep(0.0 if quick else LOOKED_AGAIN)
        count.taken()
        refresh = _refresh(refresher, count)
        time.sleep(0.0 if quick else LOOKED_AGAIN)
        looks = count.taken()

        waiter.tell("refuse")  # what it knows is old: it finds the present token in the store
        assert waiter.heard() == "done"
        count.taken()
        server.hold("token")
        refresher.tell("refuse")
        server.wait_for("token", 1)
        waiter.tell("refuse")
        assert waiter.heard() == "waiting"
        server.release("token")
        assert {refresher.heard(), waiter.heard()} == {"done"}
        waiting = count.taken() - refresh

        time.sleep(0.0 if quick else LOOKED_AGAIN)
        count.taken()
        refresher.tell(HOUR // 100 if quick else HOUR)
        assert refresher.heard() == "done"
        hour = count.taken()
    return Asked(said(first), said(refresh), "–" if quick else said(looks), said(waiting), said(hour))


def _refresh(member: Member, count: Count) -> Counter[str]:
    count.taken()
    member.tell("refuse")
    assert member.heard() == "done"
    return count.taken()


def take_part() -> None:
    logging.disable(logging.WARNING)
    job = json.loads(sys.stdin.readline())
    endpoint = TokenEndpoint(job["url"], **job["client"])
    policy.EARLY_REFRESHES = sys.maxsize  # one refusal after the other: that is no API which refuses fresh tokens
    # The look at the store in the background is not counted here, nor is the first one of each process.
    policy.LOOK_EVERY = policy.LOOK_SELDOM = 2.0 * HOUR
    watch.FIRST_LOOK = (2.0 * HOUR, 2.0 * HOUR)
    credential = Credential("asked", endpoint, store=job["store"], profile="static")
    token = credential.token()
    events.subscribe(lambda event: _say("waiting") if event.kind is events.Kind.WAITING else None)
    _say("ready")
    for line in sys.stdin:
        match json.loads(line):
            case int(calls):
                for _ in range(calls):
                    credential.token()
            case _:
                credential.replayed(token, accepted=True)  # the API has taken it for a while, and now it does not
                token = credential.token(refused=token)
        _say("done")


def _say(word: str) -> None:
    print(json.dumps(word), flush=True)


if __name__ == "__main__":
    take_part()
