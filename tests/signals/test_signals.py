"""A signal whose handler raises, as Ctrl-C does, wherever it comes: all others go on, and so does the next call.

The short form of ``python -m tests.signals``, which is a part of ``make chaos``.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.signals.scripts import ways
from tests.signals.storms import AIMS, WAYS, catches, storm

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_the_storm_knows_every_way() -> None:
    assert tuple(ways.WAYS) == WAYS


def test_the_storm_would_catch_it() -> None:
    """Latches on the events of the standard library, and ``Thread.start`` on a thread that takes signals."""
    assert [one.wrong for one in catches(1, 6, random.Random(1))]


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("way", WAYS)
def test_no_signal_leaves_anything_taken_or_anybody_waiting(way: str, aim: str) -> None:
    found = storm(way, aim, 300 if way == "ask" else 60, random.randrange(10**6))
    assert not found.wrong, found
    assert found.hits > 0


@pytest.mark.parametrize("aim", AIMS)
@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_no_signal_leaves_a_connection_to_a_server_in_the_middle_of_an_answer(
    kind: str, aim: str, new_store: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORM_STORE", new_store(kind))
    found = storm("ask a server", aim, 60, random.randrange(10**6))
    assert not found.wrong, found
    assert found.hits > 0
