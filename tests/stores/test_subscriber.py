"""One that waits for a change, where a ring and an end come at the same time."""

from __future__ import annotations

import pytest

from onerefresh.stores.subscriber import Subscriber


@pytest.fixture
def woken() -> list[None]:
    return []


def subscriber_of(woken: list[None]) -> tuple[Subscriber, dict[Subscriber, None]]:
    others: dict[Subscriber, None] = {}
    subscriber = Subscriber(lambda: woken.append(None), others)
    others[subscriber] = None
    return subscriber, others


def test_who_rings_for_one_that_has_ended_meanwhile_does_not_wake_it(woken: list[None]) -> None:
    subscriber, others = subscriber_of(woken)
    subscriber.end()
    subscriber.ring()
    assert (woken, others) == ([], {})


def test_whoever_rings_it_is_woken_once(woken: list[None]) -> None:
    subscriber, others = subscriber_of(woken)
    for _ in range(2):
        subscriber.ring()
    subscriber.end()
    assert (woken, others) == ([None], {})
